"""A parsed caption as a picture: its words and arcs in lines that wrap, and its triples, as SVG."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from spacy.tokens import Doc

WIDTH = 960
"""Pixels of the picture; longer captions take several lines."""

_LETTER = 8.0  # pixels of a letter of the font, which has letters of one width
_GAP, _LINE, _LEVEL, _MARGIN = 18, 18, 26, 16
_STYLE = "font-family: monospace; font-size: 13px"


@dataclass(frozen=True)
class _Row:
    """One line of the caption: its first token, and where each of its tokens stands.

    Attributes:
        start: the first token.
        centres: pixels from the left of each token's middle.
    """

    start: int
    centres: tuple[float, ...]

    def has(self, token: int) -> bool:
        """Whether a token stands in this line."""
        return self.start <= token < self.start + len(self.centres)

    def x(self, token: int) -> float:
        """The middle of a token."""
        return self.centres[token - self.start]


def caption_svg(doc: Doc) -> str:
    """Words with parts of speech and arcs, and the triples below, as SVG.

    An arc to a word in another line is named above its word, with the head's text.
    """
    parts: list[str] = []
    y = float(_MARGIN)
    for row in _rows(doc):
        y = _draw_row(doc, row, y, parts)
    for line in _triple_lines(doc):
        y += _LINE
        parts.append(_text(_MARGIN, y, line, anchor="start"))
    height = y + _MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0f}" '
        f'viewBox="0 0 {WIDTH} {height:.0f}" style="{_STYLE}">\n'
        '<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _rows(doc: Doc) -> Iterator[_Row]:
    """The tokens in lines as wide as the picture; a word too long for one has a line of its own."""
    start, right = 0, float(_MARGIN)
    centres: list[float] = []
    for token in doc:
        shown = (token.text, token.pos_, token.dep_)
        width = max(len(text) for text in shown) * _LETTER + _GAP
        if centres and right + width > WIDTH - _MARGIN:
            yield _Row(start, tuple(centres))
            start, right, centres = token.i, float(_MARGIN), []
        centres.append(right + width / 2)
        right += width
    if centres:
        yield _Row(start, tuple(centres))


def _draw_row(doc: Doc, row: _Row, y: float, parts: list[str]) -> float:
    """Draw one line from `y` down; returns where it ends."""
    tokens = [doc[row.start + i] for i in range(len(row.centres))]
    arcs = [(t.head.i, t.i, t.dep_) for t in tokens if t.head.i != t.i and row.has(t.head.i)]
    levels = _levels([(min(head, child), max(head, child)) for head, child, _ in arcs])
    elsewhere = [t for t in tokens if not row.has(t.head.i)]
    base = y + (max(levels, default=0) + 1) * _LEVEL + _LINE * bool(elsewhere)
    for (head, child, label), level in zip(arcs, levels, strict=True):
        a, b, top = row.x(head), row.x(child), base - level * _LEVEL - 6
        a += _LETTER * (0.5 if child > head else -0.5)  # so that arcs of one word stand apart
        parts.append(
            f'<path d="M{a:.1f},{base} V{top} H{b:.1f} V{base}" fill="none" stroke="#888"/>'
            f'<path d="M{b - 3:.1f},{base - 5} L{b:.1f},{base} L{b + 3:.1f},{base - 5}" '
            'fill="none" stroke="#888"/>'
        )
        parts.append(_text((a + b) / 2, top - 3, label, fill="#555"))
    for token in elsewhere:
        parts.append(_text(row.x(token.i), base, f"{token.dep_} of {token.head.text}", fill="#555"))
    for token in tokens:
        parts.append(_text(row.x(token.i), base + _LINE, token.text))
        parts.append(_text(row.x(token.i), base + 2 * _LINE, token.pos_, fill="#36c"))
    return base + 3 * _LINE


def _levels(spans: Sequence[tuple[int, int]]) -> list[int]:
    """How high each arc is drawn: above those that it covers; the lowest are 1."""
    levels = [0] * len(spans)
    for i in sorted(range(len(spans)), key=lambda i: spans[i][1] - spans[i][0]):
        start, end = spans[i]
        under = (levels[j] for j, (a, b) in enumerate(spans) if levels[j] and a < end and b > start)
        levels[i] = 1 + max(under, default=0)
    return levels


def _triple_lines(doc: Doc) -> Iterator[str]:
    """The triples and lone objects, each wrapped where it is wider than the picture."""
    letters = int((WIDTH - 2 * _MARGIN) / _LETTER)
    related = {t.strings[i] for t in doc._.triples for i in (0, 2)}
    shown = [f"({', '.join(triple.strings)})" for triple in doc._.triples]
    shown += [f"({node.string})" for node in doc._.objects if node.string not in related]
    for text in shown:
        for start in range(0, len(text), letters):
            yield text[start : start + letters]


def _text(x: float, y: float, text: str, *, anchor: str = "middle", fill: str = "#000") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}">{escape(text)}</text>'
    )
