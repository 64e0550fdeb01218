"""Figures side by side in one PNG file."""

from collections.abc import Sequence
from itertools import cycle, pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from resg.explain.figure import WIDTH, Box, Figure, Line, Mark, Point, Text, font

SCALE = 2.5
"""Pixels of a unit."""

MARGIN = 16.0


def draw(figures: Sequence[Figure], photo: NDArray[np.uint8]) -> Image.Image:
    """Figures side by side.

    Args:
        figures: each 400 units wide.
        photo: `[height, width, 3]` RGB, which all of them show.
    """
    width = MARGIN + len(figures) * (WIDTH + MARGIN)
    height = max(figure.height for figure in figures) + MARGIN
    page = Image.new("RGB", (round(width * SCALE), round(height * SCALE)), "white")
    for number, figure in enumerate(figures):
        left = MARGIN + number * (WIDTH + MARGIN)
        if figure.photo is not None:
            x0, y0, x1, y1 = (round(SCALE * value) for value in figure.photo)
            small = Image.fromarray(photo).resize((x1 - x0, y1 - y0), Image.Resampling.LANCZOS)
            page.paste(small, (round(SCALE * left) + x0, y0))
        pen = _Pen(ImageDraw.Draw(page), left)
        for mark in figure.marks:
            pen.draw(mark)
    return page


class _Pen:
    """Draws the marks of a figure that starts `left` units from the edge of the page."""

    def __init__(self, drawing: ImageDraw.ImageDraw, left: float) -> None:
        self.drawing, self.left = drawing, left

    def draw(self, mark: Mark) -> None:
        if isinstance(mark, Text):
            letters = font(round(mark.size * SCALE), is_bold=mark.is_bold)
            anchor = "ms" if mark.is_middle else "ls"
            self.drawing.text(self.pixel((mark.x, mark.y)), mark.text, mark.colour, letters, anchor)
        elif isinstance(mark, Line):
            self.line(mark.start, mark.end, mark.colour, mark.width, mark.dash)
        else:
            self.box(mark)

    def box(self, mark: Box) -> None:
        x0, y0, x1, y1 = mark.corners
        if mark.fill is not None:
            corners = [self.pixel((x0, y0)), self.pixel((x1, y1))]
            self.drawing.rounded_rectangle(corners, radius=3 * SCALE, fill=mark.fill)
            if mark.dash or mark.fill != mark.colour:
                self.outline(mark, 1, has_ground=False)
            return
        self.outline(mark, 2, has_ground=True)

    def outline(self, mark: Box, width: float, *, has_ground: bool) -> None:
        x0, y0, x1, y1 = mark.corners
        corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]
        for start, end in pairwise(corners):
            self.line(start, end, mark.colour, width, mark.dash, has_ground=has_ground)

    def line(
        self,
        start: Point,
        end: Point,
        colour: str,
        width: float,
        dash: Sequence[float],
        *,
        has_ground: bool = True,
    ) -> None:
        if has_ground:
            ends = [self.pixel(start), self.pixel(end)]
            self.drawing.line(ends, "white", round(SCALE * (width + 2)))
        for first, last in _dashes(start, end, dash):
            ends = [self.pixel(first), self.pixel(last)]
            self.drawing.line(ends, colour, max(1, round(SCALE * width)))

    def pixel(self, point: Point) -> Point:
        return SCALE * (self.left + point[0]), SCALE * point[1]


def _dashes(start: Point, end: Point, dash: Sequence[float]) -> list[tuple[Point, Point]]:
    """The pieces of a dashed line."""
    (x0, y0), (x1, y1) = start, end
    length = float(np.hypot(x1 - x0, y1 - y0))
    if not dash or not length:
        return [(start, end)]
    pieces: list[tuple[Point, Point]] = []
    at, is_drawn = 0.0, True
    for step in cycle(dash):
        to = min(at + step, length)
        if is_drawn:
            ends = ((x0 + (x1 - x0) * t / length, y0 + (y1 - y0) * t / length) for t in (at, to))
            pieces.append((next(ends), next(ends)))
        at, is_drawn = to, not is_drawn
        if at >= length:
            return pieces
    return pieces
