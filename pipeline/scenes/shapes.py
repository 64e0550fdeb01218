"""The shapes: their outlines, and the pixels that a shape covers.

Outlines live in a unit frame: x to the right, y down, the farthest point near distance 1.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import pi

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Points = NDArray[np.float64]

SUPERSAMPLING = 4
OUTLINE_WIDTH = 2
RING_HOLE = 0.56
"""Radius of a ring's hole as a share of its radius."""


def _polar(angles: Points, radii: Points | float) -> Points:
    return np.stack([np.cos(angles) * radii, np.sin(angles) * radii], axis=1)


def _regular(corners: int, turn: float) -> Points:
    return _polar(turn + np.arange(corners) * 2 * pi / corners, 1.0)


def _star() -> Points:
    angles = -pi / 2 + np.arange(10) * pi / 5
    return _polar(angles, np.where(np.arange(10) % 2 == 0, 1.05, 0.52)) + np.array([0, 0.05])


def _heart() -> Points:
    t = np.linspace(0, 2 * pi, 120, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([x, -y - 2.5], axis=1) / 16.2


def _cross() -> Points:
    a, b = 0.34, 0.92
    quarter = np.array([[a, -b], [a, -a], [b, -a]])
    turns = [np.array([[np.cos(k), -np.sin(k)], [np.sin(k), np.cos(k)]]) for k in _QUARTERS]
    return np.concatenate([quarter @ turn.T for turn in turns])


_QUARTERS = np.arange(4) * pi / 2


def _moon() -> Points:
    outer = _polar(np.linspace(0.30 * pi, 1.70 * pi, 80), 1.0)
    start, end = outer[-1], outer[0]
    centre = np.array([0.52, 0.0])
    radius = float(np.hypot(*(start - centre)))
    first = np.arctan2(*(start - centre)[::-1])
    last = np.arctan2(*(end - centre)[::-1])
    inner = centre + _polar(np.linspace(first % (2 * pi), last % (2 * pi), 60)[1:-1], radius)
    return np.concatenate([outer, inner]) + np.array([0.25, 0])


def _drop() -> Points:
    t = np.linspace(0, 2 * pi, 120, endpoint=False)
    width = 0.76 * np.sin(t) * np.sin(t / 2) ** 1.3 * 1.35
    return np.stack([width, -np.cos(t)], axis=1)


def _arrow() -> Points:
    right = [[0, -1], [0.85, -0.1], [0.36, -0.1], [0.36, 0.95]]
    left = [[-x, y] for x, y in reversed(right[1:])]
    return np.array(right + left, dtype=float)


def _union_of_discs(discs: list[tuple[float, float, float]], corners: int = 240) -> Points:
    """Outline of discs (x, y, radius) that all hold the origin, seen from it."""
    angles = np.arange(corners) * 2 * pi / corners
    direction = _polar(angles, 1.0)
    reach = np.zeros(corners)
    for x, y, radius in discs:
        along = direction @ np.array([x, y])
        reach = np.maximum(reach, along + np.sqrt(radius**2 - (x * x + y * y - along**2)))
    return direction * reach[:, None]


def _cloud() -> Points:
    puffs = [(-0.50, 0.12, 0.56), (0.52, 0.14, 0.56), (-0.14, -0.22, 0.60), (0.24, -0.12, 0.52)]
    points = _union_of_discs(puffs)
    return np.stack([points[:, 0], np.minimum(points[:, 1], 0.46)], axis=1)


def _flower() -> Points:
    t = np.linspace(0, 2 * pi, 240, endpoint=False)
    return _polar(t - pi / 2, 0.76 + 0.24 * np.cos(6 * t))


_CIRCLE = _polar(np.linspace(0, 2 * pi, 160, endpoint=False), 1.0)

OUTLINES: dict[str, Points] = {
    "arrow": _arrow(),
    "circle": _CIRCLE * 0.96,
    "cloud": _cloud(),
    "cross": _cross(),
    "diamond": _regular(4, pi / 2) * [0.80, 1.06],
    "drop": _drop(),
    "flower": _flower(),
    "heart": _heart(),
    "hexagon": _regular(6, 0.0),
    "moon": _moon(),
    "ring": _CIRCLE,
    "square": _regular(4, pi / 4) * 1.2,
    "star": _star(),
    "triangle": _regular(3, -pi / 2) * 1.12 + [0, 0.2],
}
SHAPES = tuple(OUTLINES)

CONTAINERS = tuple(s for s in SHAPES if s not in {"arrow", "cross", "moon"})
"""Shapes with room for a small object inside."""

SEATS = ("circle", "cloud", "cross", "flower", "heart", "hexagon", "ring", "square")
"""Shapes on whose top another one can rest."""


@dataclass(frozen=True, eq=False)
class Stencil:
    """The pixels of one shape in one radius, cropped to what is covered.

    Attributes:
        alpha: `[height, width]` share of each pixel that the shape covers, in [0, 1].
        body: `[height, width]` the same without the outline's band.
        solid: `[height, width]` whether the pixel lies within the outline, a ring's hole included.
        inner: `(x, y)` where in the crop most room is, and a small object sits well.
    """

    alpha: NDArray[np.float32]
    body: NDArray[np.float32]
    solid: NDArray[np.bool_]
    inner: tuple[float, float]

    @property
    def covers(self) -> NDArray[np.bool_]:
        """`[height, width]` the pixels that count as the shape's own: at least half covered."""
        return self.alpha >= 0.5

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.alpha.shape[0], self.alpha.shape[1]


@lru_cache(maxsize=1024)
def stencil(shape: str, radius: int) -> Stencil:
    """The pixels of `shape`, drawn `SUPERSAMPLING` times as large and averaged.

    Args:
        shape: one of `SHAPES`.
        radius: length of the outline's unit in pixels.
    """
    half = radius + radius // 4 + 4
    side = 2 * half * SUPERSAMPLING
    outline = (OUTLINES[shape] * radius + half) * SUPERSAMPLING
    solid = Image.new("L", (side, side), 0)
    ImageDraw.Draw(solid).polygon([tuple(point) for point in outline], fill=255)
    filled = solid.copy()
    if shape == "ring":
        hole = (_CIRCLE * RING_HOLE * radius + half) * SUPERSAMPLING
        ImageDraw.Draw(filled).polygon([tuple(point) for point in hole], fill=0)
    body = filled.filter(ImageFilter.MinFilter(2 * (OUTLINE_WIDTH * SUPERSAMPLING // 2) + 1))
    alpha = _shares(filled)
    crop = _covered_part(alpha >= 0.5)
    inner_x, inner_y = _roomiest_point(shape)
    return Stencil(
        alpha=alpha[crop],
        body=_shares(body)[crop],
        solid=_shares(solid)[crop] >= 0.5,
        inner=(
            inner_x * radius + half - crop[1].start,
            inner_y * radius + half - crop[0].start,
        ),
    )


def _shares(drawn: Image.Image) -> NDArray[np.float32]:
    """Share of each final pixel that is drawn, in [0, 1]."""
    return (np.asarray(drawn.reduce(SUPERSAMPLING)) / 255).astype(np.float32)


def _covered_part(covers: NDArray[np.bool_]) -> tuple[slice, slice]:
    rows = np.flatnonzero(covers.any(axis=1))
    columns = np.flatnonzero(covers.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


@lru_cache
def _roomiest_point(shape: str) -> tuple[float, float]:
    """Where in the unit frame the outline is farthest away."""
    grid = np.linspace(-0.5, 0.5, 21)
    candidates = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    outline = OUTLINES[shape]
    steps = np.linspace(0, 1, 6, endpoint=False)[:, None, None]
    edges = (outline + steps * (np.roll(outline, -1, axis=0) - outline)).reshape(-1, 2)
    room = np.linalg.norm(candidates[:, None] - edges[None], axis=2).min(axis=1)
    room -= 1e-6 * np.abs(candidates).sum(axis=1)  # of equal ones the nearest to the middle
    x, y = candidates[int(room.argmax())]
    return float(x), float(y)
