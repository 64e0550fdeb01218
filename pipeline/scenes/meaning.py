"""The claims of a caption as a graph, and whether they are true of a scene."""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from itertools import combinations
from typing import Self

from pipeline.scenes.relations import Relation
from pipeline.scenes.scene import SceneObject


@dataclass(frozen=True)
class Thing:
    """What a caption can say of an object: its shape and its attributes."""

    shape: str
    attributes: frozenset[str]

    @classmethod
    def of(cls, item: SceneObject) -> Self:
        """The thing that an object of a scene is."""
        return cls(item.kind.shape, frozenset(item.attributes.values()))


@dataclass(frozen=True)
class Mention:
    """One noun phrase: `two small green circles`.

    Attributes:
        shape: what is mentioned.
        attributes: the attributes that are said of it.
        count: how many of it.
    """

    shape: str
    attributes: tuple[str, ...] = ()
    count: int = 1

    def fits(self, thing: Thing) -> bool:
        """Whether the thing is one of those that the phrase could mean."""
        return self.shape == thing.shape and thing.attributes.issuperset(self.attributes)


@dataclass(frozen=True)
class CaptionGraph:
    """A caption's claims: that these are there, in these relations (indices of mentions)."""

    mentions: tuple[Mention, ...]
    relations: tuple[Relation, ...]

    def is_true_of(self, things: Sequence[Thing], holding: Set[Relation]) -> bool:
        """Whether each mention can be given objects of its own so that all relations hold.

        Args:
            things: the objects of a scene.
            holding: the relations among them.
        """
        choices = []
        for mention in self.mentions:
            fitting = [k for k, thing in enumerate(things) if mention.fits(thing)]
            choices.append(list(combinations(fitting, mention.count)))
            if not choices[-1]:
                return False
        return self._can_extend((), choices, holding)

    def _can_extend(
        self,
        chosen: tuple[tuple[int, ...], ...],
        choices: list[list[tuple[int, ...]]],
        holding: Set[Relation],
    ) -> bool:
        if len(chosen) == len(choices):
            return True
        taken = {k for members in chosen for k in members}
        return any(
            taken.isdisjoint(members)
            and self._relations_hold((*chosen, members), holding)
            and self._can_extend((*chosen, members), choices, holding)
            for members in choices[len(chosen)]
        )

    def _relations_hold(self, chosen: tuple[tuple[int, ...], ...], holding: Set[Relation]) -> bool:
        """Whether the relations of the last chosen mention to all before it hold."""
        last = len(chosen) - 1
        return all(
            (i, name, j) in holding
            for subject, name, other in self.relations
            if max(subject, other) == last
            for i in chosen[subject]
            for j in chosen[other]
        )
