"""Lay out pairs of twin scenes: the same objects with two roles exchanged.

A pair of twins has one core relation between two places. In the first twin one object takes the
first place and another the second; in the second twin they are exchanged, and nothing else changes:
background, other objects, and who of the two is small or large stay the same.

The core relation `inside` needs a large container and a small content, so there both kinds come in
both sizes, four objects in two couples: a small star in a large ring, and a small ring over the
edge of a large star. The twin moves the small ones a little: the star over the edge of the ring,
and the ring into the star. So it has the same objects, and each couple is as close.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from pipeline.scenes.drawing import COLOURS, NUM_BACKGROUNDS
from pipeline.scenes.relations import covered_share, drop_distance, relations
from pipeline.scenes.scene import IMAGE_SIZE, SIZES, TEXTURES, Box, Kind, Scene, SceneObject
from pipeline.scenes.shapes import CONTAINERS, SEATS, SHAPES, Points, stencil

CORE_RELATIONS = ("left of", "above", "in front of", "inside", "on")
"""Relation of the object in the first place to the one in the second."""

RADII = {"small": (16, 19), "large": (28, 33)}
"""Smallest and largest radius in pixels."""
CONTENT_RADII, CONTAINER_RADII = (14, 16), (37, 41)
COVERED = (0.10, 0.36)
"""Least and most of an object that the one in front of it may cover."""
OVER_EDGE = (0.25, 0.75)
"""Least and most of a small object over the edge of a large one that lies on it."""
MARGIN, GAP = 5, 5
MAX_OTHERS = 3


@dataclass(frozen=True)
class Twins:
    """Two scenes of the same objects; `first` and `second` are places, not objects.

    Attributes:
        scenes: the twins.
        relation: core relation, one of `CORE_RELATIONS`.
        first: index of the object in the first place, the same in both scenes.
        second: index of the object in the second place.
        groups: indices of others that are alike and stand together, a single one included.
    """

    scenes: tuple[Scene, Scene]
    relation: str
    first: int
    second: int
    groups: tuple[tuple[int, ...], ...]


class NoRoomError(Exception):
    """The randomly drawn objects do not fit; the next draw may."""


def make_twins(rng: np.random.Generator, relation: str) -> Twins:
    """Lay out a pair of twins.

    Args:
        rng: where all choices come from.
        relation: one of `CORE_RELATIONS`.
    """
    while True:
        try:
            twins = _lay_out(rng, relation)
        except NoRoomError:
            continue
        if all((twins.first, relation, twins.second) in relations(s) for s in twins.scenes):
            return twins


def _lay_out(rng: np.random.Generator, relation: str) -> Twins:
    kinds = _core_kinds(rng, relation)
    cores, first, second = _CORES[relation](rng, kinds)
    if not all(item.extent.within(MARGIN) for core in cores for item in core):
        raise NoRoomError
    taken = [item.extent for core in cores for item in core]
    groups = list(_others(rng, kinds, taken, most=1 if relation == "inside" else MAX_OTHERS))
    others = [item for group in groups for item in group]
    # what stands apart is drawn before or after the core at random: the order reveals nothing
    before = int(rng.integers(len(others) + 1))
    numbers = iter([*range(before), *range(before + len(cores[0]), len(others) + len(cores[0]))])
    background = int(rng.integers(NUM_BACKGROUNDS))
    scene, twin = (Scene((*others[:before], *core, *others[before:]), background) for core in cores)
    return Twins(
        scenes=(scene, twin),
        relation=relation,
        first=before + first,
        second=before + second,
        groups=tuple(tuple(next(numbers) for _ in group) for group in groups),
    )


@dataclass(frozen=True)
class _Figure:
    """An object before it has a place."""

    kind: Kind
    size: str
    radius: int
    role: int

    def centred(self, x: float, y: float) -> SceneObject:
        """With the middle of its box there."""
        height, width = stencil(self.kind.shape, self.radius).shape
        return self._with_corner(x - width / 2, y - height / 2)

    def around(self, x: float, y: float) -> SceneObject:
        """With its roomiest point there."""
        inner_x, inner_y = stencil(self.kind.shape, self.radius).inner
        return self._with_corner(x - inner_x, y - inner_y)

    def _with_corner(self, left: float, top: float) -> SceneObject:
        corner = round(left), round(top)
        item = SceneObject(self.kind, self.size, self.radius, *corner, self.role)
        if not item.extent.within(MARGIN):
            raise NoRoomError
        return item


Core = tuple[SceneObject, ...]
CorePair = tuple[tuple[Core, Core], int, int]
"""The core objects of both twins in drawing order, and where the first and second place are."""


def _core_kinds(rng: np.random.Generator, relation: str) -> tuple[Kind, Kind]:
    """Two kinds that differ in shape, in colour or in both; never in texture or size alone."""
    shapes = {"inside": CONTAINERS, "on": SEATS}.get(relation, SHAPES)
    # what overlaps must differ in colour to be seen apart
    sharing = ("neither", "neither", "shape") if relation in {"inside", "in front of"} else (
        "neither", "neither", "shape", "colour")  # fmt: skip
    shared = rng.choice(sharing)
    shape, other_shape = rng.choice(shapes, 2, replace=False)
    colour, other_colour = rng.choice(tuple(COLOURS), 2, replace=False)
    return (
        Kind(str(shape), str(colour), _texture(rng)),
        Kind(
            str(shape if shared == "shape" else other_shape),
            str(colour if shared == "colour" else other_colour),
            _texture(rng),
        ),
    )


def _texture(rng: np.random.Generator) -> str:
    return str(rng.choice(TEXTURES, p=[0.25, 0.5, 0.25]))


def _radius(rng: np.random.Generator, size: str) -> int:
    least, most = RADII[size]
    return int(rng.integers(least, most + 1))


def _two_figures(rng: np.random.Generator, kinds: tuple[Kind, Kind]) -> tuple[_Figure, _Figure]:
    """Of the same size more often than not, as sizes then tell least."""
    size = str(rng.choice(SIZES, p=[0.65, 0.35]))
    other = size if rng.random() < 0.6 else str(rng.choice(SIZES))
    return (
        _Figure(kinds[0], size, _radius(rng, size), role=0),
        _Figure(kinds[1], other, _radius(rng, other), role=1),
    )


def _apart(rng: np.random.Generator, kinds: tuple[Kind, Kind], across: bool) -> CorePair:
    a, b = _two_figures(rng, kinds)
    along, offset = rng.uniform(66, 132), rng.uniform(-0.4, 0.4)
    step = np.array([along, along * offset] if across else [along * offset, along])
    start = _point(rng, step)
    end = start + step
    pair = (a.centred(*start), b.centred(*end)), (b.centred(*start), a.centred(*end))
    if any(one.extent.meets(other.extent, GAP) for one, other in pair):
        raise NoRoomError
    if rng.random() < 0.5:  # drawn first or last, at random
        return (pair[0][::-1], pair[1][::-1]), 1, 0
    return pair, 0, 1


def _left_of(rng: np.random.Generator, kinds: tuple[Kind, Kind]) -> CorePair:
    return _apart(rng, kinds, across=True)


def _above(rng: np.random.Generator, kinds: tuple[Kind, Kind]) -> CorePair:
    return _apart(rng, kinds, across=False)


def _in_front_of(rng: np.random.Generator, kinds: tuple[Kind, Kind]) -> CorePair:
    a, b = _two_figures(rng, kinds)
    step = _step(rng, rng.uniform(0.65, 1.0) * (a.radius + b.radius))
    back = _point(rng, step)
    front = back + step
    pair = (b.centred(*back), a.centred(*front)), (a.centred(*back), b.centred(*front))
    for behind, before in pair:
        if not COVERED[0] <= covered_share(before, behind) <= COVERED[1]:
            raise NoRoomError
    return pair, 1, 0


def _on(rng: np.random.Generator, kinds: tuple[Kind, Kind]) -> CorePair:
    a, b = _two_figures(rng, kinds)
    x, y = rng.uniform(40, IMAGE_SIZE - 40), rng.uniform(70, IMAGE_SIZE - 40)
    shift = rng.uniform(-7, 7)
    pair = tuple(_stacked(upper, lower, x, y, shift) for upper, lower in ((a, b), (b, a)))
    if rng.random() < 0.5:
        return (pair[0][::-1], pair[1][::-1]), 1, 0
    return (pair[0], pair[1]), 0, 1


def _stacked(upper: _Figure, lower: _Figure, x: float, y: float, shift: float) -> Core:
    height, _ = stencil(lower.kind.shape, lower.radius).shape
    below = lower.centred(x, y + height / 2)
    height, _ = stencil(upper.kind.shape, upper.radius).shape
    above = upper.centred(x + shift, y - height / 2 - 1)
    return replace(above, top=above.top + drop_distance(above, below)), below


def _inside(rng: np.random.Generator, kinds: tuple[Kind, Kind]) -> CorePair:
    large = int(rng.integers(CONTAINER_RADII[0], CONTAINER_RADII[1] + 1))
    small = int(rng.integers(CONTENT_RADII[0], CONTENT_RADII[1] + 1))
    places = [rng.uniform(MARGIN, IMAGE_SIZE - MARGIN, 2) for _ in kinds]
    steps = [_step(rng, rng.uniform(0.8, 1.15) * large) for _ in kinds]
    cores = []
    for held in (0, 1):  # the kind that is inside; the couple of its container comes first
        couples = []
        for content in (held, 1 - held):
            kind = 1 - content
            container = _Figure(kinds[kind], "large", large, kind).around(*places[kind])
            at = places[kind] if content == held else places[kind] + steps[kind]
            small_one = _Figure(kinds[content], "small", small, content).centred(*at)
            couples.append((container, small_one))
        if not OVER_EDGE[0] <= covered_share(*couples[1]) <= OVER_EDGE[1]:
            raise NoRoomError
        if any(a.extent.meets(b.extent, GAP) for a in couples[0] for b in couples[1]):
            raise NoRoomError
        cores.append((*couples[0], *couples[1]))
    return (cores[0], cores[1]), 1, 0


def _step(rng: np.random.Generator, distance: float) -> Points:
    angle = rng.uniform(0, 2 * np.pi)
    return distance * np.array([np.cos(angle), np.sin(angle)])


_CORES: dict[str, Callable[[np.random.Generator, tuple[Kind, Kind]], CorePair]] = {
    "left of": _left_of,
    "above": _above,
    "in front of": _in_front_of,
    "inside": _inside,
    "on": _on,
}


def _point(rng: np.random.Generator, step: Points) -> Points:
    """Where to start, so that neither it nor a step further lies near the border."""
    low = 24 - np.minimum(step, 0)
    high = IMAGE_SIZE - 24 - np.maximum(step, 0)
    return rng.uniform(low, np.maximum(high, low))


def _others(
    rng: np.random.Generator, kinds: tuple[Kind, Kind], taken: list[Box], most: int
) -> Iterator[tuple[SceneObject, ...]]:
    """Up to `most` groups of one to three objects of one kind, apart from what is there."""
    used = {(kind.shape, kind.colour) for kind in kinds}
    for number in range(int(rng.integers(most + 1))):
        kind = _other_kind(rng, kinds, used)
        used.add((kind.shape, kind.colour))
        count = int(rng.choice([1, 2, 3], p=[0.72, 0.2, 0.08]))
        size = "small" if count > 1 else str(rng.choice(SIZES))
        figure = _Figure(kind, size, _radius(rng, size), role=2 + number)
        group = _free_row(rng, figure, count, taken)
        taken.extend(item.extent for item in group)
        if group:
            yield group


def _other_kind(
    rng: np.random.Generator, kinds: tuple[Kind, Kind], used: set[tuple[str, str]]
) -> Kind:
    """Often one with the shape of one core kind and the colour of the other, else any."""
    crossed = Kind(kinds[0].shape, kinds[1].colour, _texture(rng))
    if rng.random() < 0.5:
        crossed = Kind(kinds[1].shape, kinds[0].colour, crossed.texture)
    if rng.random() < 0.4 and (crossed.shape, crossed.colour) not in used:
        return crossed
    while True:
        shape, colour = str(rng.choice(SHAPES)), str(rng.choice(tuple(COLOURS)))
        if (shape, colour) not in used:
            return Kind(shape, colour, _texture(rng))


def _free_row(
    rng: np.random.Generator, figure: _Figure, count: int, taken: list[Box], tries: int = 40
) -> tuple[SceneObject, ...]:
    """The figure `count` times side by side where nothing else is; empty without such room."""
    height, width = stencil(figure.kind.shape, figure.radius).shape
    step = width + GAP
    for _ in range(tries):
        x, y = rng.uniform(MARGIN + max(width, height) / 2, IMAGE_SIZE, 2)
        try:
            row = tuple(figure.centred(x + k * step, y) for k in range(count))
        except NoRoomError:
            continue
        if not any(item.extent.meets(box, GAP) for item in row for box in taken):
            return row
    return ()
