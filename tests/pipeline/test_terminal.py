"""Progress on a terminal, and without escape codes where NO_COLOR is set."""

import io
import sys

import pytest

from pipeline.terminal import error_console


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("no_color", "is_terminal"), [("1", False), ("", True), (None, True)])
def test_no_color_is_no_terminal(monkeypatch, no_color, is_terminal):
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    if no_color is not None:
        monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setattr(sys, "stderr", Terminal())
    console = error_console()
    assert console.is_terminal == is_terminal
    console.print("[bold red]loss[/] 1.5")
    assert ("\x1b" in sys.stderr.getvalue()) == is_terminal
