"""Which predicates a caption supports: those of its words, and a closed set that needs none.

Gold also names predicates that only knowledge gives (`a woman cleaning the counter`, `touch`). A
network that learned from it would write words that the caption does not have.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.parsing.scene_graph.decode import Floats

ABSTRACT = frozenset(("have", "wear", "in", "on", "with", "near", "next to"))
"""Predicates that need no word: `leg of a man` is `(man, have, leg)`, `man in a shirt` `wear`."""

_GLUE = frozenset(["in", "on", "at", "of", "to", "the", "with", "by", "from"])
"""Words of a phrase that may differ where the others are said: `at the side of`, `on side of`."""

_VARIANTS = {
    "atop": ("top",), "toward": ("towards",), "beside": ("next",), "onto": ("on",), "upon": ("on",),
    "into": ("in",), "inside": ("in",), "within": ("in",), "alongside": ("along", "side"),
    "thru": ("through",), "underneath": ("under",), "beneath": ("under",), "amongst": ("among",),
    "besides": ("next",), "infront": ("front",), "seated": ("sit",), "below": ("under",),
}  # fmt: skip
"""Words, and those of predicates that say the same: `atop the hill` is `on top of`."""


class Supported:
    """Masks of the scores of predicates' first words and ends; minus infinity for what is not said.

    Args:
        heads: the closed set of first words.
        tails: the closed set of ends, the empty one included.
    """

    def __init__(self, heads: Sequence[str], tails: Sequence[str]) -> None:
        self._head_rows = {head: row for row, head in enumerate(heads)}
        firsts = {predicate.split()[0] for predicate in ABSTRACT}
        self._abstract = np.full(len(heads), -np.inf, np.float32)
        self._abstract[[self._head_rows[f] for f in firsts if f in self._head_rows]] = 0.0
        self._contents = [_content(tail) for tail in tails]
        self._is_place = np.array([tail.endswith(" of") for tail in tails])
        self._ends_abstract = {
            first: np.array([f"{first} {tail}".rstrip() in ABSTRACT for tail in tails])
            for first in firsts
        }

    def heads(self, words: Sequence[str], lemmas: Iterable[str]) -> Floats:
        """Mask of first words: those of the closed set, and what the caption's words may give."""
        mask = self._abstract.copy()
        said = [*lemmas, *(v for word in words for v in _VARIANTS.get(word, ()))]
        rows = [row for word in said if (row := self._head_rows.get(word)) is not None]
        mask[rows] = 0.0
        return mask

    def tails(self, words: Sequence[str]) -> NDArray[np.bool_]:
        """Which ends of predicates the caption says."""
        said = set(words).union(*(_VARIANTS[word] for word in words if word in _VARIANTS))
        return np.array([content <= said for content in self._contents])

    def mask_of_tails(self, is_said: NDArray[np.bool_], head: str, token: int) -> Floats:
        """Mask of the ends of one predicate.

        Args:
            is_said: what `tails` says of the caption.
            head: the predicate's first word.
            token: the token that says it, -1 where none does.
        """
        if token < 0 and head in self._ends_abstract:
            is_said = self._ends_abstract[head] | (is_said & self._is_place & (head in _GLUE))
        return np.where(is_said, np.float32(0.0), np.float32(-np.inf))


def _content(tail: str) -> frozenset[str]:
    """The words of an end that a caption must have."""
    words = frozenset(tail.split())
    return words - _GLUE or words
