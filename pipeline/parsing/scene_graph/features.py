"""What the scene-graph network sees of a word: its place in a vocabulary and its letters."""

import zlib
from collections.abc import Iterable, Sequence

UNKNOWN = 1
"""Row of a word that the vocabulary lacks; row 0 is padding."""

_LONGEST = 5


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
