"""Edges in words: how two regions lie to each other, how two words depend on each other."""

from collections.abc import Sequence

from resg.data.vocabulary import Vocabulary
from resg.explain.leaving_out import EdgeEffect
from resg.graphs.visual import (
    COVER,
    FIRST_DIRECTION,
    FIRST_PREDICATE,
    INSIDE,
    NEIGHBOUR,
    OVERLAP,
)

_DIRECTIONS = ("right of", "above", "above", "left of", "left of", "below", "below", "right of")
"""Where the source of an edge lies, in steps of 45 degrees from the right upwards."""


def visual_relation(effect: EdgeEffect, names: Sequence[str], vocabulary: Vocabulary) -> str:
    """How two joined regions lie to each other, such as `dog left of man, look alike`.

    Args:
        effect: of joining them.
        names: of all regions of the image.
        vocabulary: for the detector's predicates.
    """
    first, second = names[effect.first], names[effect.second]
    said = [
        _visual_phrase(kind, *ends, vocabulary)
        for kinds, ends in ((effect.forward, (first, second)), (effect.backward, (second, first)))
        for kind in kinds
    ]
    # the second edge says the same of the places as the first, from the other end
    places = [phrase for kind, phrase in said if kind == "place"][:1]
    others = [phrase for kind, phrase in said if kind != "place"]
    return ", ".join(dict.fromkeys([*places, *others])) or f"{first} and {second}"


def _visual_phrase(kind: int, target: str, source: str, vocabulary: Vocabulary) -> tuple[str, str]:
    if kind == INSIDE:
        return "place", f"{target} inside {source}"
    if kind == COVER:
        return "place", f"{target} around {source}"
    if kind == OVERLAP:
        return "place", f"{target} overlaps {source}"
    if kind == NEIGHBOUR:
        return "likeness", "look alike"
    if kind >= FIRST_PREDICATE:
        predicate, is_inverse = divmod(kind - FIRST_PREDICATE, 2)
        subject, thing = (source, target) if is_inverse else (target, source)
        return "predicate", f"{subject} {vocabulary.predicates[predicate]} {thing}"
    return "place", f"{source} {_DIRECTIONS[kind - FIRST_DIRECTION]} {target}"


def textual_relation(effect: EdgeEffect, names: Sequence[str], vocabulary: Vocabulary) -> str:
    """How two joined words depend on each other, such as `riding, man: nsubj, subject`."""
    kinds = (vocabulary.edge_types[kind] for kind in (*effect.forward, *effect.backward))
    said = dict.fromkeys(kind.removesuffix("~").removeprefix("arc:") for kind in kinds)
    types = ", ".join(kind.replace("predicate:", "") for kind in said) or "unknown"
    return f"{names[effect.first]}, {names[effect.second]}: {types}"
