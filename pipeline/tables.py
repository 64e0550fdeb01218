"""Tables as text, for terminals and files alike."""

import textwrap
from collections.abc import Iterable, Sequence
from shutil import get_terminal_size

_GAP = "  "
_NARROWEST_LAST = 40  # characters that the last column keeps, however wide the others are


def render_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as plain text; only its last column is wrapped, so that ids and figures stay whole.

    Numbers stand on the right with thousands separated; everything else on the left.
    """
    values = [list(row) for row in rows]
    cells = [list(columns), *([_cell(value) for value in row] for row in values)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    before = sum(widths[:-1]) + len(_GAP) * (len(widths) - 1)
    last = max(get_terminal_size().columns - before, _NARROWEST_LAST)
    widths[-1] = min(widths[-1], last)
    numeric = [
        bool(values) and all(_is_number(row[i]) for row in values) for i in range(len(widths))
    ]
    lines = []
    for row in cells:
        wrapped = textwrap.wrap(row[-1], widths[-1]) or [""]
        lines.append(_line([*row[:-1], wrapped[0]], widths, numeric))
        lines += [" " * before + more for more in wrapped[1:]]
    lines.insert(1, _GAP.join("-" * width for width in widths))
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    padded = (
        cell.rjust(width) if is_number else cell.ljust(width)
        for cell, width, is_number in zip(cells, widths, numeric, strict=True)
    )
    return _GAP.join(padded).rstrip()


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else " ".join(str(value).split())
