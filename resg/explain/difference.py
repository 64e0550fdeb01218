"""The difference between the scores of two captions of one image, in parts that add up."""

from collections import Counter, defaultdict
from dataclasses import dataclass

from resg.explain.explanation import ScoredCaption


@dataclass(frozen=True)
class Cause:
    """A part of the difference of two scores.

    Attributes:
        text: what it comes from.
        change: what it adds to the first score over the second.
    """

    text: str
    change: float


def difference(first: ScoredCaption, second: ScoredCaption, most: int = 8) -> list[Cause]:
    """Causes of `first.score - second.score`, the greatest first; they add up to it.

    A word of both captions counts by the difference of its shares, a word of one of them by its
    share there; the n-th occurrence of a word is compared with the n-th.

    Args:
        first: a scored caption.
        second: another one of the same image.
        most: causes to name; what is left is one cause more.
    """
    first_words, second_words = _shares_of_words(first), _shares_of_words(second)
    causes = [Cause("whole image with whole caption", first.global_part - second.global_part)]
    for word in dict.fromkeys([*first_words, *second_words]):
        change = first_words.get(word, 0.0) - second_words.get(word, 0.0)
        if word not in second_words:
            where = "only this caption has"
        elif word not in first_words:
            where = "only the wrong caption has"
        else:
            where = "both have"
        causes.append(Cause(f"“{word[0]}”, which {where}", change))
    causes.sort(key=lambda cause: -abs(cause.change))
    rest = causes[most:]
    if len(rest) > 1:
        left = Cause(f"{len(rest)} other words", sum(cause.change for cause in rest))
        return [*causes[:most], left]
    return causes


def _shares_of_words(caption: ScoredCaption) -> dict[tuple[str, int], float]:
    """The share of each occurrence of each word."""
    seen: Counter[str] = Counter()
    shares: defaultdict[tuple[str, int], float] = defaultdict(float)
    for word, share in zip(caption.words, caption.shares.sum(0).tolist(), strict=True):
        key = word.lower()
        shares[key, seen[key]] += share
        seen[key] += 1
    return dict(shares)
