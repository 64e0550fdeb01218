"""The command line `pipeline`; its commands are the modules of `pipeline.commands`."""

from pipeline.commandline import CommandFolder
from pipeline.errors import PipelineError

main = CommandFolder(
    name="pipeline",
    package="pipeline.commands",
    errors=(PipelineError,),
    help="Turn pictures and captions into shards of regions and relation triples.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
