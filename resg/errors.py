"""What can go wrong for a user of the trainer; see `pipeline.errors` for how a message reads."""


class ResgError(Exception):
    """A fault that the user can mend; its text is all that is printed."""

    exit_code = 1


class SettingsError(ResgError):
    """A setting or an option asks for something impossible."""

    exit_code = 2
