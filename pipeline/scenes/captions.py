"""Captions of twin scenes: varied sentences that are true of one twin and false of the other.

A sentence is planned once, over places, and worded for each twin by who stands there. So the two
captions have the same words in the same pattern, and only who stands in which relation to whom is
exchanged: the true caption of one twin is the wrong one of the other.

Four of an image's five captions speak of the core relation, two of them naming the first place
first and two the second, by pairs in the same style: who is named first tells nothing.
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from pipeline.scenes.layout import Twins
from pipeline.scenes.meaning import CaptionGraph, Mention, Thing
from pipeline.scenes.relations import CONVERSE, loose_relations, relations
from pipeline.scenes.scene import Scene, SceneObject
from pipeline.scenes.wording import Clause, Style, clause, lot

Option = TypeVar("Option")

NUMBERS = {2: "two", 3: "three"}
ADJECTIVES = ("size", "texture", "colour")
"""Groups of attributes in the order in which English puts them."""


@dataclass(frozen=True)
class Caption:
    """One caption and what it says.

    Attributes:
        text: the sentence.
        nouns: the noun of each mention, plural where it means several.
        graph: its claims.
        triples: `(star, left of, ring)` and `(star, is, red)`, as FACTUAL writes them.
        edges: the relations among the triples, `(i, predicate, j)` by index of mention.
        is_hard: whether the twin's caption in the same position has the same words.
    """

    text: str
    nouns: tuple[str, ...]
    graph: CaptionGraph
    triples: tuple[tuple[str, str, str], ...]
    edges: tuple[tuple[int, str, int], ...]
    is_hard: bool


@dataclass(frozen=True)
class _Plan:
    """A sentence over places: `{the0} is left of {the1}`; members are indices of objects."""

    pattern: str
    members: tuple[tuple[int, ...], ...]
    clauses: tuple[Clause, ...]


class NoCaptionError(Exception):
    """The randomly chosen words do not distinguish the twins; those of other twins may."""


def write_captions(rng: np.random.Generator, twins: Twins) -> tuple[list[Caption], list[Caption]]:
    """Five captions for each of two twins; those in the same position are exchanged forms.

    Raises:
        NoCaptionError: no five captions were found that are true of one twin alone.
    """
    writer = _Writer(rng, twins)
    for extended in (False, True):
        style = lot(rng, twins.relation)
        for turned in (False, True):
            writer.add_core(style, turned=turned, extended=extended)
    writer.add_partial()
    order = rng.permutation(len(writer.pairs))
    return [writer.pairs[k][0] for k in order], [writer.pairs[k][1] for k in order]


class _Writer:
    """Plans sentences over the places of two twins and keeps those that tell them apart."""

    def __init__(self, rng: np.random.Generator, twins: Twins) -> None:
        self.rng = rng
        self.twins = twins
        self.holding = tuple(relations(scene) for scene in twins.scenes)
        self.lenient = tuple(loose_relations(scene) for scene in twins.scenes)
        self.things = [[Thing.of(item) for item in scene.objects] for scene in twins.scenes]
        self.pairs: list[tuple[Caption, Caption]] = []

    def add_core(self, style: Style, *, turned: bool, extended: bool) -> None:
        """Add a caption of the core relation; `turned` names the second place first."""
        for attempt in range(60):
            planned = extended and attempt < 50 and self._extended(style, turned)
            if self._add(planned or self._simple(style, turned), is_hard=True):
                return
        raise NoCaptionError

    def add_partial(self) -> None:
        """Add a caption of another object and one of the core; of the core where none will do."""
        for attempt in range(60):
            planned = attempt < 12 and self._partial()
            style, turned = lot(self.rng, self.twins.relation), self.rng.random() < 0.5
            if self._add(planned or self._simple(style, turned), is_hard=False):
                return
        raise NoCaptionError

    def _add(self, plan: _Plan, *, is_hard: bool) -> bool:
        """Word the plan for both twins; keep it if each is true of its own alone, and new."""
        attributes = self._chosen_attributes(plan)
        pair = [_worded(plan, scene, attributes, is_hard) for scene in self.twins.scenes]
        for own, twin in ((0, 1), (1, 0)):
            graph = pair[own].graph
            if (
                not graph.is_true_of(self.things[own], self.holding[own])
                or graph.is_true_of(self.things[twin], self.lenient[twin])
                or any(pair[own].text == old[own].text for old in self.pairs)
            ):
                return False
        self.pairs.append((pair[0], pair[1]))
        return True

    # In a pattern {a0} is the first noun phrase with an indefinite article, {the0} with a definite.

    def _core(self, turned: bool) -> tuple[tuple[int, ...], tuple[int, ...], str]:
        """Both core places in the order of words, and the relation of the first to the second."""
        first, second, relation = (self.twins.first,), (self.twins.second,), self.twins.relation
        return (second, first, CONVERSE[relation]) if turned else (first, second, relation)

    def _simple(self, style: Style, turned: bool) -> _Plan:
        first, second, relation = self._core(turned)
        return self._one_clause(first, relation, second, style)

    def _one_clause(
        self, first: tuple[int, ...], relation: str, second: tuple[int, ...], style: Style
    ) -> _Plan:
        plural = len(first) > 1
        said = clause(0, relation, 1, style, plural=plural)
        patterns = [
            f"{{a0}} {said.reduced} {{a1}}",
            f"{{a0}} {said.finite} {{a1}}",
            f"{{the0}} {said.finite} {{the1}}",
            f"there {_be(plural)} {{a0}} {said.reduced} {{a1}}",
            f"{{a0}} that {said.finite} {{a1}}",
        ]
        if style.manner == "copula" and self.rng.random() < 0.3:  # the place comes first
            plural = len(second) > 1
            said = clause(1, CONVERSE[relation], 0, style, plural=plural)
            patterns = [
                f"{said.place} {{the0}} {_be(plural)} {{a1}}",
                f"{said.place} {{the0}} there {_be(plural)} {{a1}}",
            ]
        return _Plan(self._one_of(patterns), (first, second), (said,))

    def _extended(self, style: Style, turned: bool) -> _Plan | None:
        """The core relation and what it says of a third, or None where there is no third."""
        if not self.twins.groups:
            return None
        first, second, relation = self._core(turned)
        third = self._one_of(self.twins.groups)
        members = (first, second, third)
        said = clause(0, relation, 1, style)
        choices = [
            (f"{{a0}} {said.finite} {{a1}}, and there {_be(len(third) > 1)} {{a2}}", (said,)),
            (f"there {_be(len(third) > 1)} {{a2}}, and {{a0}} {said.finite} {{a1}}", (said,)),
        ]
        for name in self._facts(first, third):
            more = clause(0, name, 2, self._plain_style())
            back = clause(2, CONVERSE[name], 0, self._plain_style(), plural=len(third) > 1)
            choices += [
                (f"{{the0}}, which {said.finite} {{the1}}, {more.finite} {{the2}}", (said, more)),
                (f"{{the0}} that {said.finite} {{the1}} {more.finite} {{the2}}", (said, more)),
                (f"{{a0}} {said.finite} {{a1}} and {more.finite} {{a2}}", (said, more)),
                (f"{{a0}} {said.finite} {{a1}}, and {{a2}} {back.finite} {{the0}}", (said, back)),
            ]
        for name in self._facts(second, third):
            more = clause(1, name, 2, self._plain_style())
            choices += [
                (f"{{a0}} {said.finite} {{a1}}, which {more.finite} {{a2}}", (said, more)),
                (
                    f"there is {{a0}} {said.reduced} {{a1}}, which {more.finite} {{a2}}",
                    (said, more),
                ),
            ]
            shared = clause(2, CONVERSE[name], 1, Style("copula", style.choice))
            core = clause(0, relation, 1, Style("copula", style.choice))
            if shared.place == core.place:
                choices.append((f"{{a0}} and {{a2}} are {core.place} {{a1}}", (core, shared)))
        pattern, clauses = self._one_of(choices)
        return _Plan(pattern, members, clauses)

    def _partial(self) -> _Plan | None:
        """A third and one of the core, or None where nothing clear holds between them."""
        known = [
            (group, name, core)
            for group in self.twins.groups
            for core in ((self.twins.first,), (self.twins.second,))
            for name in self._facts(group, core)
        ]
        if not known:
            return None
        group, name, core = self._one_of(known)
        style = self._plain_style()
        if self.rng.random() < 0.5:
            return self._one_clause(group, name, core, style)
        return self._one_clause(core, CONVERSE[name], group, style)

    def _facts(self, subject: tuple[int, ...], other: tuple[int, ...]) -> list[str]:
        """Relations that all of `subject` have to all of `other`, in both twins."""
        return [
            name
            for name in CONVERSE
            if all((i, name, j) in held for held in self.holding for i in subject for j in other)
        ]

    def _plain_style(self) -> Style:
        manner = "posture" if self.rng.random() < 0.25 else "copula"
        return Style(manner, int(self.rng.integers(12)))

    def _one_of(self, options: Sequence[Option]) -> Option:
        return options[int(self.rng.integers(len(options)))]

    def _chosen_attributes(self, plan: _Plan) -> dict[int, frozenset[str]]:
        """Groups of attributes to name, by role; enough that each noun phrase fits one thing."""
        places = [k for members in plan.members for k in members]
        spoken_of = [scene.objects[k] for scene in self.twins.scenes for k in places]
        chosen = {}
        for role in sorted({item.role for item in spoken_of}):
            is_plain = any(o.role == role and o.kind.texture == "plain" for o in spoken_of)
            odds = {"size": 0.25, "texture": 0.1 if is_plain else 0.35, "colour": 0.92}
            named = {group for group, share in odds.items() if self.rng.random() < share}
            for group in ("colour", "size", "texture"):
                if self._is_ambiguous(plan, role, named):
                    named.add(group)
            chosen[role] = frozenset(named)
        return chosen

    def _is_ambiguous(self, plan: _Plan, role: int, named: Set[str]) -> bool:
        """Whether a noun phrase for that role could mean something else in one of the twins."""
        for scene, things in zip(self.twins.scenes, self.things, strict=True):
            for members in plan.members:
                item = scene.objects[members[0]]
                if item.role == role:
                    mention = _mention(item, named, len(members))
                    if sum(map(mention.fits, things)) != len(members):
                        return True
        return False


def _mention(item: SceneObject, named: Set[str], count: int) -> Mention:
    attributes = item.attributes
    words = tuple(attributes[group] for group in ADJECTIVES if group in named)
    return Mention(item.kind.shape, words, count)


def _worded(
    plan: _Plan, scene: Scene, attributes: Mapping[int, Set[str]], is_hard: bool
) -> Caption:
    """The plan's sentence about a scene."""
    mentions = []
    phrases = {}
    for number, members in enumerate(plan.members):
        item = scene.objects[members[0]]
        mention = _mention(item, attributes[item.role], len(members))
        phrase = " ".join((*mention.attributes, _noun(mention)))
        if mention.count > 1:
            phrase = f"{NUMBERS[mention.count]} {phrase}"
        article = "" if mention.count > 1 else "an " if phrase[0] in "aeiou" else "a "
        phrases |= {f"a{number}": article + phrase, f"the{number}": f"the {phrase}"}
        mentions.append(mention)
    text = plan.pattern.format_map(phrases)
    nouns = tuple(_noun(mention) for mention in mentions)
    return Caption(
        text=f"{text[0].upper()}{text[1:]}.",
        nouns=nouns,
        graph=CaptionGraph(tuple(mentions), tuple(said.relation for said in plan.clauses)),
        triples=tuple(_triples(mentions, nouns, plan.clauses)),
        edges=tuple(said.predicate for said in plan.clauses),
        is_hard=is_hard,
    )


def _triples(
    mentions: Sequence[Mention], nouns: Sequence[str], clauses: Sequence[Clause]
) -> Iterator[tuple[str, str, str]]:
    for said in clauses:
        subject, predicate, other = said.predicate
        yield nouns[subject], predicate, nouns[other]
    for mention, noun in zip(mentions, nouns, strict=True):
        if mention.count > 1:
            yield noun, "is", str(mention.count)
        for word in mention.attributes:
            yield noun, "is", word


def _noun(mention: Mention) -> str:
    if mention.count == 1:
        return mention.shape
    return mention.shape + ("es" if mention.shape.endswith("s") else "s")


def _be(plural: bool) -> str:
    return "are" if plural else "is"
