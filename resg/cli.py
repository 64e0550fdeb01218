"""resg: the click group; its commands are the modules of `resg.commands`."""

import os

from pipeline.commandline import CommandFolder
from pipeline.errors import PipelineError
from resg.errors import ResgError

# OpenMP reads this when PyTorch is loaded. By default its threads wait for each other in a loop, so
# that a step takes ten times as long where other programs use the cores (docs/training.md).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

main = CommandFolder(
    name="resg",
    package="resg.commands",
    errors=(ResgError, PipelineError),
    help="Train, evaluate and use relationship-enhanced semantic graphs for image-text matching.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
