"""What the shell completes behind an option."""

from collections.abc import Callable, Sequence

import click
from click.shell_completion import CompletionItem


def completing(names: Sequence[str]) -> Callable[..., list[CompletionItem]]:
    """A `shell_complete` that offers names, and files where none of them begins as typed."""

    def complete(
        context: click.Context, parameter: click.Parameter, typed: str
    ) -> list[CompletionItem]:
        found = [CompletionItem(name) for name in names if name.startswith(typed)]
        return found or [CompletionItem(typed, type="file")]

    return complete
