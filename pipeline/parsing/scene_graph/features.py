"""Features of the scene-graph network: words, letter groups, arcs and phrases."""

import zlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.integer]

UNKNOWN = 1
"""Row of a word that the vocabulary lacks; row 0 is padding."""

ARC_KINDS = 5
"""How a pair of nodes may be tied: by an arc or two arcs, either way, or by a common head."""

_LONGEST = 5
_MAX_SKIPPED = 1  # a word between the words of a phrase, as `the` in `on the side of`


def letter_rows(word: str, buckets: int) -> list[int]:
    """Rows of a word's letter groups in a hashed table, from 1 to `buckets`.

    The groups are all of 3 letters, and the first and last 2 to 5, with the word's ends marked
    (after Bojanowski et al. 2017, with fewer groups).
    """
    marked = f"<{word}>"
    groups = {marked[i : i + 3] for i in range(len(marked) - 2)}
    groups |= {marked[:n] for n in range(2, _LONGEST + 1)}
    groups |= {marked[-n:] for n in range(2, _LONGEST + 1)}
    return sorted(zlib.crc32(group.encode("utf-8")) % buckets + 1 for group in groups)


class Vocabulary:
    """Words and their rows; row 0 is padding, row 1 every other word.

    Args:
        words: in the order of their rows, from row 2 on.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self.words: Sequence[str] = tuple(words)
        self._rows = {word: row for row, word in enumerate(self.words, UNKNOWN + 1)}

    def __len__(self) -> int:
        return len(self.words) + UNKNOWN + 1

    def row(self, word: str) -> int:
        """The row of a word in lower case."""
        return self._rows.get(word, UNKNOWN)


def arc_codes(
    first_M: Ints, last_M: Ints, pairs_P2: Ints, heads_T: Ints, deprels_T: Ints, num_deprels: int
) -> Ints:
    """How the parser ties each pair of nodes, from 0 (not closely) to `ARC_KINDS * num_deprels`.

    Args:
        first_M: first token of each node.
        last_M: last token of each node, which stands for it.
        pairs_P2: subject and object node.
        heads_T: each token's head; a root's is itself.
        deprels_T: each token's label, from 0 to `num_deprels - 1`.
        num_deprels: number of labels.
    """
    s, o = pairs_P2[:, 0], pairs_P2[:, 1]
    token_s, token_o = last_M[s], last_M[o]
    above_s, above_o = heads_T[token_s], heads_T[token_o]

    def holds(node: Ints, token: Ints) -> NDArray[np.bool_]:
        return (first_M[node] <= token) & (token <= last_M[node])

    is_one = s == o
    kinds = (
        ~is_one & holds(s, above_o),
        ~is_one & holds(o, above_s),
        ~is_one & holds(s, heads_T[above_o]),
        ~is_one & holds(o, heads_T[above_s]),
        ~is_one & (above_s == above_o),
    )
    labels = (deprels_T[token_o], deprels_T[token_s]) * 2 + (deprels_T[token_o],)
    codes = [1 + kind * num_deprels + label for kind, label in enumerate(labels)]
    return np.select(kinds, codes, 0)


class Phrases:
    """Finds the ends of predicates, such as `in front of`, among a caption's words.

    Args:
        phrases: in the order of their rows; an empty one stands nowhere.
    """

    def __init__(self, phrases: Iterable[str]) -> None:
        self._by_first: dict[str, list[tuple[int, tuple[str, ...]]]] = {}
        for row, phrase in enumerate(phrases):
            first, *others = phrase.split() or [""]
            self._by_first.setdefault(first, []).append((row, tuple(others)))

    def places(self, words: Sequence[str]) -> list[tuple[int, int]]:
        """First token and row of each phrase that the words hold; a word may come between two."""
        found = []
        for token, word in enumerate(words):
            for row, others in self._by_first.get(word, ()):
                end = token + 1
                for other in others:
                    near = words[end : end + _MAX_SKIPPED + 1]
                    if other not in near:
                        break
                    end += near.index(other) + 1
                else:
                    found.append((token, row))
        return found
