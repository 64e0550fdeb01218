"""Word pieces of a BERT vocabulary, of words that the parser's tokenizer has split."""

import unicodedata
from collections.abc import Mapping, Sequence

LONGEST = 100


class WordPieces:
    """Splits a word into the longest pieces of a vocabulary from the left (Wu et al. 2016).

    Args:
        rows: row of each piece; those that continue a word begin with `##`.
    """

    def __init__(self, rows: Mapping[str, int]) -> None:
        self.rows = rows
        self.unknown, self.begin, self.end = rows["[UNK]"], rows["[CLS]"], rows["[SEP]"]
        self._kept: dict[str, tuple[int, ...]] = {}

    def of(self, word: str) -> tuple[int, ...]:
        """Rows of a word's pieces; at least one."""
        if word not in self._kept:
            self._kept[word] = tuple(self._split(_plain(word))) or (self.unknown,)
        return self._kept[word]

    def of_caption(self, words: Sequence[str]) -> tuple[list[int], list[tuple[int, int]]]:
        """Rows of a caption's pieces, with its begin and end, and each word's first and last."""
        pieces, ends = [self.begin], []
        for word in words:
            its = self.of(word)
            ends.append((len(pieces), len(pieces) + len(its) - 1))
            pieces += its
        return [*pieces, self.end], ends

    def _split(self, text: str) -> list[int]:
        found: list[int] = []
        for part in _parts(text):
            start = 0
            of_part: list[int] = []
            while start < len(part):
                for end in range(len(part), start, -1):
                    row = self.rows.get("##" * bool(start) + part[start:end])
                    if row is not None:
                        break
                else:
                    of_part = [self.unknown]
                    break
                of_part.append(row)
                start = end
            found += of_part
        return found


def _plain(word: str) -> str:
    """The word in lower case without accents."""
    letters = unicodedata.normalize("NFD", word.lower()[:LONGEST])
    return "".join(c for c in letters if unicodedata.category(c) != "Mn")


def _parts(text: str) -> list[str]:
    """Letters and digits, and each other character alone, as BERT's tokenizer has them."""
    parts: list[str] = []
    joins = False
    for c in text:
        if c.isalnum():
            parts[-1:] = [parts[-1] + c] if joins else [*parts[-1:], c]
            joins = True
        else:
            if not c.isspace():
                parts.append(c)
            joins = False
    return parts
