"""The words for relations: prepositions, verbs in both voices, postures."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from pipeline.scenes.relations import CONVERSE

Words = TypeVar("Words")

PREPOSITIONS: dict[str, tuple[tuple[str, str], ...]] = {
    "left of": (
        ("to the left of", "left of"),
        ("left of", "left of"),
        ("on the left of", "left of"),
    ),
    "right of": (
        ("to the right of", "right of"),
        ("right of", "right of"),
        ("on the right of", "right of"),
    ),
    "above": (("above", "above"), ("above", "above"), ("above", "above")),
    "below": (("below", "below"), ("beneath", "beneath"), ("under", "under")),
    "in front of": (("in front of", "in front of"),),
    "behind": (("behind", "behind"),),
    "inside": (("inside", "inside"), ("in", "in"), ("within", "within")),
    "around": (("around", "around"),),
    "on": (("on", "on"), ("on top of", "on top of"), ("on", "on")),
    "under": (("under", "under"), ("beneath", "beneath"), ("underneath", "underneath")),
}
"""Words for each relation, each with the predicate that its triple carries."""

POSTURES: dict[str, tuple[str, ...]] = {
    "left of": ("lie", "sit", "stand"),
    "right of": ("lie", "sit", "stand"),
    "above": ("float", "hover"),
    "below": ("lie", "sit"),
    "in front of": ("lie", "sit", "stand"),
    "behind": ("lie", "sit", "stand"),
    "inside": ("float", "lie", "sit"),
    "around": (),
    "on": ("lie", "rest", "sit", "stand"),
    "under": ("lie", "stand"),
}
"""Verbs of position that suit a relation."""

VERBS: dict[str, tuple[str, ...]] = {
    "in front of": ("cover", "partly cover", "partly hide"),
    "around": ("enclose", "hold", "surround"),
    "under": ("carry", "support"),
}
"""Verbs whose agent stands in the relation to the patient."""

_FORMS = {  # third person, present participle, past participle
    "carry": ("carries", "carrying", "carried"),
    "cover": ("covers", "covering", "covered"),
    "enclose": ("encloses", "enclosing", "enclosed"),
    "float": ("floats", "floating", ""),
    "hide": ("hides", "hiding", "hidden"),
    "hold": ("holds", "holding", "held"),
    "hover": ("hovers", "hovering", ""),
    "lie": ("lies", "lying", ""),
    "rest": ("rests", "resting", ""),
    "sit": ("sits", "sitting", ""),
    "stand": ("stands", "standing", ""),
    "support": ("supports", "supporting", "supported"),
    "surround": ("surrounds", "surrounding", "surrounded"),
}


@dataclass(frozen=True)
class Style:
    """Choices of words that two captions share when they say one thing from both sides.

    Attributes:
        manner: `copula`, `posture` or `verb`; what a relation has no words for becomes `copula`.
        choice: which of the words, counted round.
    """

    manner: str
    choice: int


@dataclass(frozen=True)
class Clause:
    """What is said of a subject and an object, without either's words.

    Attributes:
        subject: number of the noun phrase that comes first.
        other: number of the noun phrase that comes second.
        relation: `(i, relation, j)` by number of noun phrase, as the caption's graph holds it.
        predicate: the triple's `(i, words in lemma form, j)`; a passive is turned round.
        finite: words between the two in a sentence: `is covered by`.
        reduced: words between the two after a noun: `covered by`.
        place: preposition alone, or an empty string where a verb says it.
    """

    subject: int
    other: int
    relation: tuple[int, str, int]
    predicate: tuple[int, str, int]
    finite: str
    reduced: str
    place: str


def lot(rng: np.random.Generator, relation: str) -> Style:
    """A style for a relation; where verbs exist they are used half the time."""
    has_verbs = relation in VERBS or CONVERSE[relation] in VERBS
    manners, weights = (
        (("copula", "posture", "verb"), (0.3, 0.2, 0.5))
        if has_verbs
        else (("copula", "posture"), (0.65, 0.35))
    )
    return Style(str(rng.choice(manners, p=weights)), int(rng.integers(12)))


def clause(
    subject: int, relation: str, other: int, style: Style, *, plural: bool = False
) -> Clause:
    """Say that `subject` stands in `relation` to `other`, in that order of words.

    Args:
        subject: number of the noun phrase that comes first.
        relation: one of `CONVERSE`.
        other: number of the noun phrase that comes second.
        style: the choice of words.
        plural: whether the subject is more than one.
    """
    is_or_are = "are" if plural else "is"
    edge = (subject, relation, other)
    if style.manner == "verb" and relation in VERBS:
        adverb, verb = _adverb_and_verb(relation, style)
        third, active, _ = _FORMS[verb]
        return Clause(
            subject, other, edge, (subject, verb, other),
            adverb + (verb if plural else third), adverb + active, "",
        )  # fmt: skip
    if style.manner == "verb" and CONVERSE[relation] in VERBS:
        adverb, verb = _adverb_and_verb(CONVERSE[relation], style)
        passive = f"{adverb}{_FORMS[verb][2]} by"
        return Clause(
            subject, other, (other, CONVERSE[relation], subject), (other, verb, subject),
            f"{is_or_are} {passive}", passive, "",
        )  # fmt: skip
    place, predicate = _chosen(PREPOSITIONS[relation], style)
    if style.manner == "posture" and POSTURES[relation]:
        verb = POSTURES[relation][style.choice // 3 % len(POSTURES[relation])]
        third, active, _ = _FORMS[verb]
        return Clause(
            subject, other, edge, (subject, f"{verb} {predicate}", other),
            f"{verb if plural else third} {place}", f"{active} {place}", place,
        )  # fmt: skip
    return Clause(
        subject, other, edge, (subject, predicate, other), f"{is_or_are} {place}", place, place
    )


def _adverb_and_verb(relation: str, style: Style) -> tuple[str, str]:
    words = _chosen(VERBS[relation], style)
    adverb, _, verb = words.rpartition(" ")
    return (f"{adverb} " if adverb else ""), verb


def _chosen(options: tuple[Words, ...], style: Style) -> Words:
    return options[style.choice % len(options)]
