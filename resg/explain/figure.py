"""Figures of an explanation as marks on a plane; `svg` and `png` draw them.

Lengths are in units of a figure that is 400 wide, so that text of size 12 is legible where a phone
shows the figure at its own width. All scores are given in points, hundredths of a score.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from PIL import ImageFont

from resg.explain.explanation import Explanation, Region, Relation, ScoredCaption

WIDTH = 400.0
MAX_PHOTO_HEIGHT = 440.0
MAX_REGIONS = 6
MAX_LINKS = 12
MAX_RELATIONS = 5
LEAST_POINTS = 0.05
"""Relations that moved the score by less are not drawn."""

Corners = tuple[float, float, float, float]
Point = tuple[float, float]

COLOURS = ("#b00020", "#0050b3", "#1b6e1b", "#6a1b9a", "#7a3e00", "#00626b")
DASHES: tuple[tuple[float, ...], ...] = ((), (7, 3), (2, 2.5), (9, 3, 2, 3), (4, 4), (12, 4))
INK, GREY, PALE = "#1a1a1a", "#595959", "#f2f2f2"


@dataclass(frozen=True)
class Box:
    """A rectangle; without a fill its outline alone, on a white ground that sets it off."""

    corners: Corners
    colour: str
    dash: tuple[float, ...] = ()
    fill: str | None = None


@dataclass(frozen=True)
class Line:
    """A straight line, set off by a white ground."""

    start: Point
    end: Point
    colour: str
    width: float
    dash: tuple[float, ...] = ()


@dataclass(frozen=True)
class Text:
    """A text that starts at x, or has its middle there, with its baseline at y."""

    x: float
    y: float
    text: str
    size: float = 12.0
    colour: str = INK
    is_bold: bool = False
    is_middle: bool = False


Mark = Box | Line | Text


@dataclass
class Figure:
    """Marks on a plane, with the photograph below them.

    Attributes:
        title: what it shows, for those who hear the page as well.
        photo: where the photograph is; None without it.
        height: of the figure.
        marks: in the order in which they are drawn.
    """

    title: str
    photo: Corners | None
    height: float
    marks: list[Mark] = field(default_factory=list)


def points(score: float) -> str:
    """A score in points with its sign, such as `+1.4`."""
    rounded = round(100 * score, 2 if abs(score) < 0.01 else 1)
    digits = 2 if abs(score) < 0.01 else 1
    return f"{rounded + 0.0:+.{digits}f}".replace("-", "\u2212")


@cache
def font(size: float, *, is_bold: bool = False) -> ImageFont.FreeTypeFont:
    """The font in which figures are measured and PNG files written."""
    from matplotlib import get_data_path

    name = "DejaVuSans-Bold.ttf" if is_bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(get_data_path(), "fonts", "ttf", name)), size)


def text_width(text: str, size: float, *, is_bold: bool = False) -> float:
    """Width of a text in units."""
    return font(20, is_bold=is_bold).getlength(text) * size / 20


def strongest_regions(caption: ScoredCaption, most: int = MAX_REGIONS) -> list[int]:
    """Rows of the regions with the greatest shares of a caption; none where no region has any."""
    of_regions = np.abs(caption.shares.sum(1))
    order = np.argsort(-of_regions, kind="stable")[:most]
    return [region for region in order.tolist() if of_regions[region] > 0]


def region_numbers(caption: ScoredCaption) -> list[int]:
    """`[R]` number of each region: 1 for the one with the greatest share of this caption."""
    order = np.argsort(-np.abs(caption.shares.sum(1)), kind="stable")
    return (np.argsort(order, kind="stable") + 1).tolist()


@dataclass(frozen=True)
class Plane:
    """Where the regions of an image are in a figure, and by which numbers they are known.

    Attributes:
        photo: corners of the photograph in the figure.
        scale: units of a pixel.
        regions: of the image.
        numbers: `[R]` of the regions, the same in all figures of an explanation.
    """

    photo: Corners
    scale: float
    regions: Sequence[Region]
    numbers: Sequence[int]

    @classmethod
    def of(cls, explanation: Explanation, top: float) -> "Plane":
        """The plane of an explained image, below `top`."""
        height, width = explanation.image_size or (1, 1)
        scale = min(WIDTH / width, MAX_PHOTO_HEIGHT / height)
        left = (WIDTH - width * scale) / 2
        photo = (left, top, left + width * scale, top + height * scale)
        return cls(photo, scale, explanation.regions, region_numbers(explanation.caption))

    def corners(self, region: int) -> Corners:
        """The box of a region, inside the photograph."""
        x0, y0, x1, y1 = self.regions[region].box or (0.0, 0.0, 0.0, 0.0)
        left, top, right, bottom = self.photo
        return (
            float(np.clip(left + x0 * self.scale, left + 1, right - 4)),
            float(np.clip(top + y0 * self.scale, top + 1, bottom - 4)),
            float(np.clip(left + x1 * self.scale, left + 4, right - 1)),
            float(np.clip(top + y1 * self.scale, top + 4, bottom - 1)),
        )

    def style(self, region: int) -> tuple[str, tuple[float, ...]]:
        """Colour and dashes of a region, by its number."""
        number = self.numbers[region] - 1
        return COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)]

    def boxes(self, regions: Sequence[int]) -> tuple[list[Mark], dict[int, Point]]:
        """Boxes of regions with their numbers, and where each number is."""
        marks: list[Mark] = []
        tags: list[Mark] = []
        anchors: dict[int, Point] = {}
        taken: list[Corners] = []
        for region in regions:
            colour, dash = self.style(region)
            marks.append(Box(self.corners(region), colour, dash))
            tag = _free_tag(self.corners(region), str(self.numbers[region]), taken, self.photo)
            taken.append(tag)
            x, y = (tag[0] + tag[2]) / 2, (tag[1] + tag[3]) / 2
            anchors[region] = (x, y)
            tags.append(Box(tag, colour, fill=colour))
            number = str(self.numbers[region])
            tags.append(Text(x, y + 4.5, number, 12, "#ffffff", is_bold=True, is_middle=True))
        return [*marks, *tags], anchors


def _free_tag(box: Corners, text: str, taken: Sequence[Corners], photo: Corners) -> Corners:
    """A free place for a number along the edges of its box, inside the photograph."""
    width, height = text_width(text, 12, is_bold=True) + 8, 17.0
    x0, y0, x1, y1 = box
    across, down = np.arange(x0, max(x0 + 1, x1 - width), 6), np.arange(y0, max(y0 + 1, y1), 6)
    places = [*((x, y0) for x in across), *((x0, y) for y in down)]
    places += [*((x1 - width, y) for y in down), *((x, y1 - height) for x in across)]
    if x1 - x0 < 2 * width or y1 - y0 < 2 * height:  # inside, it would hide the box
        places = [(x0, y0 - height), (x0, y1), (x0 - width, y0), (x1, y0), *places]
    tags = []
    for x, y in places:
        left = float(np.clip(x, photo[0], photo[2] - width))
        top = float(np.clip(y, photo[1], photo[3] - height))
        tags.append((left, top, left + width, top + height))
    free = (tag for tag in tags if not any(_meet(tag, other) for other in taken))
    return next(free, tags[0])


def _meet(a: Corners, b: Corners) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def pair_figure(explanation: Explanation, caption: ScoredCaption, title: str) -> Figure:
    """The photograph, the words of a caption, and lines between the nodes that share most."""
    plane = Plane.of(explanation, 24)
    shares = caption.shares
    shown = strongest_regions(caption)
    links = _links(shares, shown)
    boxes, anchors = plane.boxes(shown)
    words, height = _words(caption, links, plane, plane.photo[3] + 46)
    tops = {word: ((c[0] + c[2]) / 2, c[1]) for word, c in words.items()}
    most = max((abs(shares[link]) for link in links), default=1.0)
    lines: list[Mark] = [
        Line(
            anchors[region],
            tops[word],
            plane.style(region)[0],
            1 + 5 * float(abs(shares[region, word]) / most),
            plane.style(region)[1],
        )
        for region, word in links
    ]
    heading = Text(0, 15, f"{title}: {points(caption.score)} points", 13, is_bold=True)
    chips = _chips(caption, words, links, plane)
    description = f"{title}. {caption.text}"
    return Figure(description, plane.photo, height, [heading, *lines, *boxes, *chips])


def _links(shares: np.ndarray, regions: Sequence[int]) -> list[tuple[int, int]]:
    """The pairs of a shown region and a word with the greatest shares."""
    cells = [(region, word) for region in regions for word in range(shares.shape[1])]
    cells.sort(key=lambda cell: -abs(shares[cell]))
    chosen = cells[:MAX_LINKS]
    return [cell for cell in chosen if abs(shares[cell]) > 0.2 * abs(shares[chosen[0]])]


RELATION_LEFT = 48.0
WORD_SIZE, ROW_HEIGHT, GAP = 14.0, 55.0, 5.0


def _words(
    caption: ScoredCaption, links: Sequence[tuple[int, int]], plane: Plane, top: float
) -> tuple[dict[int, Corners], float]:
    """Corners of each word's chip, in rows, and where the last row ends."""
    chips: dict[int, Corners] = {}
    x, y = 0.0, top
    for word in range(len(caption.words)):
        numbers = _numbers(word, links, plane)
        width = 8 + max(
            text_width(_shown(caption, word), WORD_SIZE),
            text_width(points(float(caption.shares[:, word].sum())), 12),
            text_width(numbers, 12),
        )
        width = min(width, WIDTH)
        if x + width > WIDTH and x:
            x, y = 0.0, y + ROW_HEIGHT
        chips[word] = (x, y, x + width, y + 20)
        x += width + GAP
    return chips, y + ROW_HEIGHT


def _numbers(word: int, links: Sequence[tuple[int, int]], plane: Plane) -> str:
    """The numbers of the regions that a word is joined with."""
    return " ".join(str(plane.numbers[region]) for region, linked in links if linked == word)


def _shown(caption: ScoredCaption, word: int) -> str:
    """A word as it is shown; one that training did not have has a question mark."""
    text = _shortened(caption.words[word], WIDTH / 2)
    return text if caption.is_known[word] else f"{text} (?)"


def _chips(
    caption: ScoredCaption,
    words: dict[int, Corners],
    links: Sequence[tuple[int, int]],
    plane: Plane,
) -> list[Mark]:
    marks: list[Mark] = []
    for word, corners in words.items():
        share = float(caption.shares[:, word].sum())
        middle = (corners[0] + corners[2]) / 2
        # lines to words of lower rows pass behind
        below = (corners[0], corners[1], corners[2], corners[3] + 30)
        marks.append(Box(below, "#ffffff", fill="#ffffff"))
        marks.append(Box(corners, GREY, () if share >= 0 else (3, 2), fill=PALE))
        marks.append(
            Text(middle, corners[1] + 15, _shown(caption, word), WORD_SIZE, is_middle=True)
        )
        if caption.shares.any():
            marks.append(Text(middle, corners[3] + 13, points(share), 12, is_middle=True))
        numbers = _numbers(word, links, plane)
        marks.append(Text(middle, corners[3] + 27, numbers, 12, GREY, is_bold=True, is_middle=True))
    return marks


def relation_figure(explanation: Explanation) -> Figure:
    """The photograph with the relations of regions that moved the score, and a list of all.

    Where no relation of regions did, there is no photograph.
    """
    plane = Plane.of(explanation, 24)
    visual, textual = (_strongest(r.tried) for r in (explanation.visual, explanation.textual))
    ends = dict.fromkeys(end for relation in visual for end in (relation.first, relation.second))
    boxes, anchors = plane.boxes([*ends])
    most = max((abs(relation.change) for relation in [*visual, *textual]), default=1.0)
    marks: list[Mark] = [Text(0, 15, "Relations that moved the score", 13, is_bold=True)]
    lines: list[Mark] = []
    letters = iter("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    y = plane.photo[3] + 24 if visual else 40.0
    for heading, all_of_graph, relations, are_regions in (
        ("Between regions", explanation.visual, visual, True),
        ("Between words", explanation.textual, textual, False),
    ):
        marks.append(Text(0, y, heading, 12, is_bold=True))
        y += 20
        if not relations:
            text = (
                f"None moved the score by {LEAST_POINTS} points."
                if all_of_graph.num_pairs
                else "This matcher joins none."
            )
            marks.append(Text(0, y, text, 12, GREY))
            y += 20
        for relation in relations:
            letter = next(letters)
            text = relation.text
            if are_regions:
                start, end = anchors[relation.first], anchors[relation.second]
                line, *tag = _relation_line(relation, letter, most, start, end)
                lines.append(line)
                marks += tag
                ends = plane.numbers[relation.first], plane.numbers[relation.second]
                text = f"{ends[0]}, {ends[1]}: {text}"
            rows = _wrapped(text, WIDTH - RELATION_LEFT - 60)
            marks += _relation_row(relation, letter, most, rows, y)
            y += 16 * len(rows) + 5
        y += 8
    photo = plane.photo if visual else None
    return Figure("Relations that moved the score", photo, y, [*lines, *boxes, *marks])


def _strongest(relations: Sequence[Relation]) -> list[Relation]:
    return [r for r in relations[:MAX_RELATIONS] if abs(r.change) * 100 >= LEAST_POINTS]


def _relation_style(relation: Relation, most: float) -> tuple[str, float, tuple[float, ...]]:
    """Colour, width and dashes: solid where the relation raises the score, else dashed."""
    is_raised = relation.change >= 0
    width = 1.5 + 4 * abs(relation.change) / most
    return ("#0050b3", width, ()) if is_raised else ("#b00020", width, (5, 4))


def _relation_row(
    relation: Relation, letter: str, most: float, rows: Sequence[str], y: float
) -> list[Mark]:
    colour, width, dash = _relation_style(relation, most)
    number = points(relation.change)
    return [
        Text(0, y, letter, 12, is_bold=True),
        Line((16, y - 4), (40, y - 4), colour, width, dash),
        *(Text(RELATION_LEFT, y + 16 * row, text, 12) for row, text in enumerate(rows)),
        Text(WIDTH - text_width(number, 12, is_bold=True), y, number, 12, is_bold=True),
    ]


def _wrapped(text: str, width: float) -> list[str]:
    """Rows of a text of size 12; a word that is wider than a row is cut."""
    rows: list[str] = []
    for word in text.split():
        longer = f"{rows[-1]} {word}" if rows else word
        if rows and text_width(longer, 12) <= width:
            rows[-1] = longer
        else:
            rows.append(_shortened(word, width))
    return rows


def _shortened(text: str, width: float) -> str:
    """A text of size 12, cut where it is wider."""
    if text_width(text, 12) <= width:
        return text
    while text and text_width(f"{text}\u2026", 12) > width:
        text = text[:-1]
    return f"{text}\u2026"


def _relation_line(
    relation: Relation, letter: str, most: float, start: Point, end: Point
) -> list[Mark]:
    colour, width, dash = _relation_style(relation, most)
    x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    return [
        Line(start, end, colour, width, dash),
        Box((x - 8, y - 9, x + 8, y + 9), INK, fill="#ffffff"),
        Text(x, y + 4.5, letter, 12, is_bold=True, is_middle=True),
    ]
