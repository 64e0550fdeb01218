"""The terminal that progress and messages are shown on."""

import os

from rich.console import Console


def error_console() -> Console:
    """Standard error; a terminal with NO_COLOR set is written to without any escape code.

    rich leaves out colours alone then, but goes on moving the cursor and writing in bold.
    """
    return Console(stderr=True, force_terminal=False if os.environ.get("NO_COLOR") else None)
