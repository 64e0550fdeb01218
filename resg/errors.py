"""Errors of `resg`; `pipeline.errors` says how their messages are written."""


class ResgError(Exception):
    """An error that the user can fix; the command line prints only its text."""

    exit_code = 1


class SettingsError(ResgError):
    """A setting or an option has an impossible value."""

    exit_code = 2
