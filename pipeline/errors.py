"""The errors that the pipeline raises for a user to act on.

Every message says in one to three lines what was expected, what was found and what to do. It is
raised where the problem is detected and printed once, by `pipeline.commandline`.
"""

import re


def with_single_stops(message: str) -> str:
    """A message without a full stop behind the end of a text in it, such as a library's."""
    return re.sub(r"(?<=[^\s.])(?:\.(?=\.)|(?<=[?!])\.)(?=\.?(?:\s|$))", "", message)


class PipelineError(Exception):
    """A problem that the user can fix; only its message is printed."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(with_single_stops(message))


class DataError(PipelineError):
    """A file, a record or a shard is missing, damaged or of the wrong format."""


class SettingsError(PipelineError):
    """The command line, a manifest or a setting asks for something impossible."""

    exit_code = 2


class ExecutionError(PipelineError):
    """A stage could not run or finish: no worker, a worker that died, no space left."""


class InterruptedRunError(ExecutionError):
    """The user stopped a stage; finished shards are kept."""

    exit_code = 130


class MissingExtraError(SettingsError):
    """A package that an extra brings is not installed."""

    def __init__(self, package: str, extra: str, instead: str = "") -> None:
        advice = f" {instead}" if instead else ""
        super().__init__(
            f"this needs {package}, which is not installed. "
            f"Install it with: pip install 'resg[{extra}]'.{advice}"
        )
