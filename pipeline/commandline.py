"""The click group of both packages: one module per command, one place that prints errors."""

import importlib
import pkgutil
import traceback
from collections.abc import Sequence
from typing import Any

import click

from pipeline import __version__

INTERRUPTED = 130
"""Exit code of a command that Ctrl-C stopped, as shells have it: 128 and SIGINT's number."""


class CommandFolder(click.Group):
    """A click group whose commands are the modules of one package.

    `make_scenes.py` holds the command `make_scenes` and is called `make-scenes`; a module is
    imported only when its command runs or the help lists it.

    Args:
        package: dotted name of the folder, such as `pipeline.commands`.
        errors: exceptions whose message alone is printed; each may have an `exit_code` (default 1).
        **settings: passed to `click.Group`.
    """

    def __init__(self, *, package: str, errors: Sequence[type[Exception]], **settings: Any) -> None:
        super().__init__(**settings)
        self.package = package
        self.errors = tuple(errors)
        self.params += [
            click.Option(["--debug"], is_flag=True, help="Show the traceback of an error."),
            click.Option(
                ["--version"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=self._print_version,
                help="Show the version and exit.",
            ),
        ]

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the modules in the package, as commands."""
        folder = importlib.import_module(self.package)
        return sorted(m.name.replace("_", "-") for m in pkgutil.iter_modules(folder.__path__))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, or None."""
        if cmd_name not in self.list_commands(ctx):
            return None
        name = cmd_name.replace("-", "_")
        return getattr(importlib.import_module(f"{self.package}.{name}"), name)

    def _print_version(self, ctx: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            click.echo(f"{self.name} {__version__}")
            ctx.exit()

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; turn an error into its message and exit code."""
        debug = ctx.params.pop("debug", False)
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except KeyboardInterrupt as stop:  # its text says what is saved, where something is
            if text := "Stopped." if type(stop) is KeyboardInterrupt else str(stop):
                click.echo(text, err=True)
            raise click.exceptions.Exit(INTERRUPTED) from stop
        except (
            Exception
        ) as error:  # any failure becomes a message and an exit code, not a traceback
            if debug:
                traceback.print_exc()
            click.echo(f"Error: {_message(error, self.errors)}", err=True)
            raise click.exceptions.Exit(getattr(error, "exit_code", 1)) from error


def _message(error: Exception, known: tuple[type[Exception], ...]) -> str:
    if isinstance(error, known):
        return str(error)
    elif isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        return f"the operating system reported: {error.strerror}{where}"
    return (
        f"unexpected {type(error).__name__}: {error}\n"
        "This is a bug: run again with --debug before the command's name and report the output."
    )
