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

LIKENESS = "look alike"

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
    told = ", ".join(dict.fromkeys([*places, *others]))
    return f"{first} and {second} {told}" if told == LIKENESS else told


def _visual_phrase(kind: int, target: str, source: str, vocabulary: Vocabulary) -> tuple[str, str]:
    if kind == INSIDE:
        return "place", f"{target} inside {source}"
    if kind == COVER:
        return "place", f"{target} around {source}"
    if kind == OVERLAP:
        return "place", f"{target} overlaps {source}"
    if kind == NEIGHBOUR:
        return "likeness", LIKENESS
    if kind >= FIRST_PREDICATE:
        predicate, is_inverse = divmod(kind - FIRST_PREDICATE, 2)
        subject, thing = (source, target) if is_inverse else (target, source)
        return "predicate", f"{subject} {vocabulary.predicates[predicate]} {thing}"
    return "place", f"{source} {_DIRECTIONS[kind - FIRST_DIRECTION]} {target}"


def textual_relation(effect: EdgeEffect, names: Sequence[str], vocabulary: Vocabulary) -> str:
    """How two joined words depend on each other, such as `riding, man: nominal subject`."""
    kinds = (vocabulary.edge_types[kind] for kind in (*effect.forward, *effect.backward))
    said = dict.fromkeys(_textual_phrase(kind.removesuffix("~")) for kind in kinds)
    types = ", ".join(said) or "a type that training did not have"
    return f"{names[effect.first]}, {names[effect.second]}: {types}"


def _textual_phrase(kind: str) -> str:
    """A type of edge in words: an arc by the name of its label, a triple by its part."""
    from spacy.glossary import GLOSSARY  # takes a second where the parser is not loaded

    label = kind.removeprefix("arc:").removeprefix("predicate:")
    return GLOSSARY.get(label, label) if kind.startswith("arc:") else label
