"""resg: the click group; its commands are the modules of `resg.commands`."""

from pipeline.commandline import CommandFolder
from pipeline.errors import PipelineError
from resg.errors import ResgError

main = CommandFolder(
    name="resg",
    package="resg.commands",
    errors=(ResgError, PipelineError),
    help="Train, evaluate and use relationship-enhanced semantic graphs for image-text matching.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
