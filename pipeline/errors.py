"""What can go wrong for a user of the pipeline.

Every message says what was expected, what came and what to do, in one to three lines. The error is
raised where the fact is known and printed once, by `pipeline.commandline`.
"""


class PipelineError(Exception):
    """A fault that the user can mend; its text is all that is printed."""

    exit_code = 1


class DataError(PipelineError):
    """A file, a record or a shard is missing, damaged or not what it should be."""


class SettingsError(PipelineError):
    """The command line, a manifest or a setting asks for something impossible."""

    exit_code = 2


class ExecutionError(PipelineError):
    """A stage could not run or finish: no worker, a worker that died, no space left."""


class InterruptedRunError(ExecutionError):
    """The user stopped a stage; what was whole stays."""

    exit_code = 130


class MissingExtraError(SettingsError):
    """A package that an extra brings is not installed."""

    def __init__(self, package: str, extra: str, instead: str = "") -> None:
        advice = f" {instead}" if instead else ""
        super().__init__(
            f"this needs {package}, which is not installed. "
            f"Install it with: pip install 'resg[{extra}]'.{advice}"
        )
