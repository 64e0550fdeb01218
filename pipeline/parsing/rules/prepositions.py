"""Prepositions of several words, found by their words, and the one name that each goes by.

Names are FACTUAL's (Li et al. 2023): `on the side of` and `at the side of` are `on side of`,
`atop` is `on top of`, `to the right of` is `on the right side of`.
"""

from functools import lru_cache
from itertools import product

from pipeline.parsing.rules.graph_builder import Words
from pipeline.parsing.rules.schemes import CaptionTree

_PLACES = {
    "on side of": ("on at in by to along over from down up", "side"),
    "on both sides of": ("on at along to", "both sides"),
    "on each side of": ("on at along", "each side"),
    "on either side of": ("on at along", "either side"),
    "on far side of": ("on at along", "far side"),
    "on the right side of": ("on to at", "right|right side|right hand side"),
    "at the left of": ("on to at", "left|left side|left hand side"),
    "on top of": ("on at to over", "top"),
    "in front of": ("in on at", "front"),
    "on middle of": ("in on at down through", "middle"),
    "in center of": ("in on at", "center|centre"),
    "on back of": ("on to", "back"),
    "in back of": ("in at", "back"),
    "at rear of": ("at in to on", "rear"),
    "on bottom of": ("on at in to", "bottom"),
    "on edge of": ("on at by near along", "edge|edges"),
    "in end of": ("at on in to", "end|ends"),
    "in corner of": ("in at on", "corner|corners"),
    "at base of": ("at on", "base"),
    "at foot of": ("at", "foot"),
    "on face of": ("on", "face"),
    "inside": ("on in", "inside|interior"),
    "outside": ("on at", "outside"),
}
"""Name to (first words, nouns), each said with or without a determiner and ended by `of`."""

_PHRASES = {
    "across from": "across from",
    "ahead of": "ahead of",
    "along side": "alongside",
    "along side of": "alongside",
    "alongside of": "alongside",
    "apart from": "apart from",
    "aside from": "aside from",
    "atop of": "on top of",
    "away from": "away from",
    "because of": "because of",
    "close by": "close to",
    "close to": "close to",
    "due to": "due to",
    "far from": "far from",
    "from behind": "behind",
    "in between": "between",
    "in front": "in front of",
    "in line with": "in line with",
    "in middle": "on middle of",
    "in the midst of": "in the midst of",
    "inside of": "inside",
    "instead of": "instead of",
    "near by": "near",
    "near to": "near",
    "next": "next to",
    "next to": "next to",
    "off from": "off",
    "off of": "off",
    "on board": "on board",
    "on top": "on top of",
    "on to": "onto",
    "on the other side of": "on side of",
    "on other side of": "on side of",
    "on the opposite side of": "on side of",
    "on the front of": "in front of",
    "opposite of": "opposite of",
    "opposite to": "opposite to",
    "out from": "out of",
    "out in front of": "in front of",
    "out into": "into",
    "out of": "out of",
    "outside of": "outside",
    "right next to": "next to",
    "side by side with": "side by side with",
    "up against": "against",
    "up close to": "close to",
    "up from": "from",
    "up into": "into",
    "up on": "on",
    "up to": "up to",
    "up next to": "next to",
    "underneath of": "under",
}
"""Words as they stand, to their name. Those without their last word (`in front a boat`) too."""

_SINGLE = {
    "adjacent": "adjacent to",
    "alongwith": "with",
    "amidst": "amid",
    "amongst": "among",
    "atop": "on top of",
    "below": "under",
    "beneath": "under",
    "inbetween": "between",
    "infront": "in front of",
    "nearby": "near",
    "neat": "near",
    "ontop": "on top of",
    "toward": "towards",
    "underneath": "under",
    "w/": "with",
    "wit": "with",
    "within": "within",
}
_ENDS_OPEN = frozenset(("in front", "on top", "next", "in middle"))


def preposition_name(word: str) -> str:
    """The name of a preposition of one word: `beneath` is `under`."""
    return _SINGLE.get(word, word)


@lru_cache(maxsize=1)
def preposition_table() -> dict[tuple[str, ...], str]:
    """Every preposition of several words, and its name."""
    table = {tuple(words.split()): name for words, name in _PHRASES.items()}
    for name, (firsts, nouns) in _PLACES.items():
        for first, article, noun in product(
            firsts.split(), ((), ("the",), ("a",), ("an",), ("one",)), nouns.split("|")
        ):
            table[(first, *article, *noun.split(), "of")] = name
    return table


@lru_cache(maxsize=1)
def _lengths() -> dict[str, tuple[int, ...]]:
    """First word to the numbers of words of the prepositions that begin with it, longest first."""
    lengths: dict[str, set[int]] = {}
    for words in preposition_table():
        lengths.setdefault(words[0], set()).add(len(words))
    return {word: tuple(sorted(found, reverse=True)) for word, found in lengths.items()}


def join_prepositions(tree: CaptionTree) -> tuple[dict[int, Words], set[int]]:
    """Name the preposition of every noun; join those of several words and repair their arcs.

    Returns:
        The preposition of each noun that has one, and the tokens of those of several words.
    """
    cases: dict[int, Words] = {}
    skipped: set[int] = set()
    for start, end, name in find_prepositions(tree):
        noun = _noun_after(tree, start, end)
        if noun is not None:
            skipped.update(range(start, end))
            cases[noun] = (start, end, name)
            _attach_noun(tree, noun, start, end)
    for token, role in enumerate(tree.roles):
        noun = tree.heads[token]
        if role == "case" and token not in skipped and noun not in cases and noun > token:
            cases[noun] = _case(tree, noun)
    return cases, skipped


def find_prepositions(tree: CaptionTree) -> list[Words]:
    """Start, end (exclusive) and name of each preposition of several words, the longest taken.

    `in front a boat` counts as a noun phrase follows, `in front` at a caption's end does not.
    """
    found: list[Words] = []
    table, lengths, words = preposition_table(), _lengths(), tree.words
    start = 0
    while start < len(words):
        for length in lengths.get(words[start], ()):
            end = start + length
            name = table.get(tuple(words[start:end]))
            if name and _stands(tree, start, end):
                found.append((start, end, name))
                start = end - 1
                break
        start += 1
    return found


def _stands(tree: CaptionTree, start: int, end: int) -> bool:
    if " ".join(tree.words[start:end]) not in _ENDS_OPEN:
        return True
    return end < len(tree.words) and tree.words[end] in ("the", "a", "an", "his", "her", "its")


def _attach_noun(tree: CaptionTree, noun: int, start: int, end: int) -> None:
    """Hang the noun after a joined preposition under the word before it."""
    head = _head_outside(tree, noun, start, end)
    if head is None:
        before = (c for inner in (start, end - 1) for c in tree.children[inner] if c < start)
        head = next(before, None)
    if head is None:
        tree.attach(noun, noun, "root")
    else:
        is_verbal = tree.pos[head] in ("VERB", "ADJ", "AUX")
        tree.attach(noun, head, "obl" if is_verbal else "nmod")
    for inner in range(start, end):  # what hung under `side` hangs under the noun
        for child in tree.children[inner][:]:
            if child != noun and not start <= child < end:
                tree.attach(child, noun, tree.roles[child])


def _noun_after(tree: CaptionTree, start: int, end: int) -> int | None:
    for inner in range(end - 1, start - 1, -1):
        noun = tree.heads[inner]
        if tree.roles[inner] in ("case", "mark", "aux") and noun >= end:
            if tree.pos[noun] == "VERB" and not tree.of_role(noun, "obj", "nsubj"):
                tree.pos[noun] = "NOUN"  # next to sink
            if tree.pos[noun] != "VERB":
                return noun
    for token in range(end, min(end + 5, len(tree.words))):
        if tree.pos[token] in ("NOUN", "PROPN", "PRON"):
            noun = token
            while tree.heads[noun] > noun and tree.pos[tree.heads[noun]] in ("NOUN", "PROPN"):
                noun = tree.heads[noun]
            return noun
    return None


def _head_outside(tree: CaptionTree, noun: int, start: int, end: int) -> int | None:
    """The first word above a joined preposition that is not part of it."""
    for token in (noun, *range(start, end)):
        for _ in tree.words:
            above = tree.heads[token]
            if above == token:
                break
            if above != noun and not start <= above < end:
                return None if tree.is_below(above, noun) else above
            token = above
    return None


def _case(tree: CaptionTree, noun: int) -> Words:
    cases = [c for c in tree.of_role(noun, "case") if c < noun]
    name = preposition_name(" ".join(tree.words[case] for case in cases))
    return cases[0], cases[-1] + 1, name
