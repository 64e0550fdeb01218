"""Tables as plain text, laid out by rich, for terminals, pipes and files alike."""

from collections.abc import Iterable, Sequence
from io import StringIO
from shutil import get_terminal_size

from rich.box import Box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_RULE_BELOW_HEAD = Box("    \n    \n -  \n    \n    \n    \n    \n    \n", ascii=True)
_NARROWEST_LAST = 40  # characters that the last column keeps, however wide the others are


def render_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as plain text; only its last column is wrapped, so that ids and figures stay whole.

    Numbers are right-aligned with thousands separated; everything else is left-aligned. A table of
    whole ids may be wider than the terminal.
    """
    values = [list(row) for row in rows]
    table = Table(box=_RULE_BELOW_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    for place, name in enumerate(columns):
        is_number = bool(values) and all(isinstance(row[place], int | float) for row in values)
        is_last = place == len(columns) - 1
        justify = "right" if is_number else "left"
        table.add_column(name, justify=justify, no_wrap=not is_last, overflow="fold")
    for row in values:
        table.add_row(*(Text(_cell(value)) for value in row))
    last = table.columns[-1]
    last.min_width = min(
        _NARROWEST_LAST, max(len(_cell(row[-1])) for row in values) if values else 0
    )
    out = StringIO()
    console = Console(file=out, color_system=None, width=10_000)
    width = max(get_terminal_size().columns, console.measure(table).minimum)
    console.print(table, width=width)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else " ".join(str(value).split())
