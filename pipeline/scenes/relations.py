"""The relations between the objects of a scene, computed from their pixels."""

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.scenes.scene import IMAGE_SIZE, Scene, SceneObject, own_pixels, solid_pixels

CONVERSE: Mapping[str, str] = {
    "left of": "right of",
    "right of": "left of",
    "above": "below",
    "below": "above",
    "in front of": "behind",
    "behind": "in front of",
    "inside": "around",
    "around": "inside",
    "on": "under",
    "under": "on",
}
"""The relations, each with what it is from the other side. `under` is said of what carries."""

MAX_SLANT = 0.6
"""Left, right, above and below hold up to this offset across, as a share of that along."""

TOUCH = 2
"""Pixels between two objects that still count as touching."""

LOOSE_OFFSET = 6
"""Pixels by which a centre must lie beyond another for a lenient reader to say so."""

Relation = tuple[int, str, int]
"""Subject, relation, object: the objects by their index in the scene."""


def relations(scene: Scene) -> frozenset[Relation]:
    """All relations that clearly hold, each also from the other side.

    - left of, right of, above, below: the boxes are apart along that axis, and the centres' offset
      across it is at most `MAX_SLANT` of that along it;
    - in front of, behind: the shapes overlap, and neither lies inside the other;
    - inside, around: all pixels of one lie within the outline of the other and are drawn over it;
    - on, under: the one rests on the other's top, its centre within the other's width.
    """
    indices = range(len(scene.objects))
    found = {(i, name, j) for i in indices for j in indices for name in _holding(scene, i, j)}
    return frozenset(found | {(j, CONVERSE[name], i) for i, name, j in found})


def loose_relations(scene: Scene) -> frozenset[Relation]:
    """What a lenient reader would grant as well: left, right, above and below by centres alone.

    A caption is called wrong only where even this reader finds it wrong. `under` is granted
    wherever `below` is.
    """
    return relations(scene) | offsets([item.extent.centre for item in scene.objects])


def offsets(centres: Sequence[tuple[float, float]]) -> frozenset[Relation]:
    """Left, right, above, below and under by the centres alone, however far across."""
    found = set()
    for i, (x, y) in enumerate(centres):
        for j, (other_x, other_y) in enumerate(centres):
            if other_x - x > LOOSE_OFFSET:
                found |= {(i, "left of", j), (j, "right of", i)}
            if other_y - y > LOOSE_OFFSET:
                found |= {(i, "above", j), (j, "below", i), (j, "under", i)}
    return frozenset(found)


def covered_share(front: SceneObject, back: SceneObject) -> float:
    """Share of the one behind that the one in front covers."""
    behind = own_pixels(back)
    return float((own_pixels(front) & behind).sum() / behind.sum())


def drop_distance(upper: SceneObject, lower: SceneObject) -> int:
    """Rows by which the upper object can sink before it meets the lower one.

    Raises:
        ValueError: no column holds both.
    """
    bottoms, tops = own_pixels(upper), own_pixels(lower)
    shared = bottoms.any(axis=0) & tops.any(axis=0)
    if not shared.any():
        raise ValueError("the upper object is beside the lower one: no column holds both")
    last_row = IMAGE_SIZE - 1 - bottoms[::-1, shared].argmax(axis=0)
    return int((tops[:, shared].argmax(axis=0) - last_row - 1).min())


def _holding(scene: Scene, i: int, j: int) -> set[str]:
    """Relations of i to j; the converses come from the caller."""
    if i == j:
        return set()
    first, second = scene.objects[i], scene.objects[j]
    a, b = first.extent, second.extent
    (ax, ay), (bx, by) = a.centre, b.centre
    names = set()
    if a.right <= b.left and abs(by - ay) <= MAX_SLANT * (bx - ax):
        names.add("left of")
    # a shape can rest in a dent of another's top, so the boxes may overlap by a few rows
    rests = ay < by and b.left <= ax <= b.right and -1 <= drop_distance(first, second) <= TOUCH
    if rests:
        names |= {"on", "above"}
    if a.bottom <= b.top and abs(bx - ax) <= MAX_SLANT * (by - ay):
        names.add("above")
    if i > j and a.meets(b):  # later objects are drawn over earlier ones
        if _lies_inside(first, second):
            names.add("inside")
        elif not rests and bool(np.any(own_pixels(first) & own_pixels(second))):
            names.add("in front of")
    return names


def _lies_inside(inner: SceneObject, outer: SceneObject) -> bool:
    return not bool(np.any(own_pixels(inner) & ~solid_pixels(outer)))
