"""The click group of both packages: one module a command, one place where errors are printed."""

import importlib
import pkgutil
import traceback
from collections.abc import Sequence
from typing import Any

import click

from pipeline import __version__


class CommandFolder(click.Group):
    """A click group whose commands are the modules of one package.

    `make_scenes.py` holds the command `make_scenes` and is called `make-scenes`; a module is
    imported when its command, or the list of all commands, is asked for.

    Args:
        package: dotted name of the folder, such as `pipeline.commands`.
        errors: exceptions whose text is printed alone; each may carry an `exit_code` (1 without).
        **settings: what `click.Group` takes.
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
        except Exception as error:  # whatever went wrong: a message and an exit code, no traceback
            if debug:
                traceback.print_exc()
            click.echo(f"Error: {_message(error, self.errors)}", err=True)
            raise click.exceptions.Exit(getattr(error, "exit_code", 1)) from error


def _message(error: Exception, known: tuple[type[Exception], ...]) -> str:
    if isinstance(error, known):
        return str(error)
    elif isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        return f"the system refused: {error.strerror}{where}"
    return (
        f"unexpected {type(error).__name__}: {error}\n"
        "This is a fault of the program: run again with --debug (before the command's name) "
        "and report what it prints."
    )
