"""Errors of `resg`; `pipeline.errors` says how their messages are written."""

from pipeline.errors import with_single_stops


class ResgError(Exception):
    """An error that the user can fix; the command line prints only its text."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(with_single_stops(message))


class SettingsError(ResgError):
    """A setting or an option has an impossible value."""

    exit_code = 2
