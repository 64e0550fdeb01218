"""What a caption claims, as a graph, and whether that is true of a scene."""

from collections.abc import Set
from dataclasses import dataclass
from itertools import combinations

from pipeline.scenes.relations import Relation
from pipeline.scenes.scene import SceneObject


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

    def fits(self, item: SceneObject) -> bool:
        """Whether an object is one of those that the phrase could mean."""
        return self.shape == item.kind.shape and set(self.attributes) <= set(
            item.attributes.values()
        )


@dataclass(frozen=True)
class CaptionGraph:
    """A caption's claims: that these are there, in these relations (indices of mentions)."""

    mentions: tuple[Mention, ...]
    relations: tuple[Relation, ...]

    def is_true_of(self, objects: tuple[SceneObject, ...], holding: Set[Relation]) -> bool:
        """Whether each mention can be given objects of its own so that all relations hold.

        Args:
            objects: those of a scene.
            holding: the relations among them.
        """
        choices = []
        for mention in self.mentions:
            fitting = [k for k, item in enumerate(objects) if mention.fits(item)]
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
