"""How tokens become the strings of a scene graph: `guys` is written `people`, `sitting` is `sit`.

Nearly every object and attribute is written as its caption has it. The exceptions, and the lemmas
of predicates, are looked up here; `alignment.learn_normal_forms` counts them in training data.
"""

import difflib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

NUMBERS = {
    "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8",
    "nine": "9", "ten": "10", "eleven": "11", "twelve": "12",
}  # fmt: skip
"""Numerals and their digits; `one` is mostly a pronoun."""

PRONOUNS = {
    "he": "man", "him": "man", "his": "man", "she": "woman", "her": "woman",
    "they": "people", "them": "people", "their": "people",
}  # fmt: skip
"""What a pronoun that is a thing of its own is called."""

LEMMAS = {"does": "do", "goes": "go", "has": "have", "bathes": "bathe", "breathes": "breathe"}
SUFFIXES = {"xes": (2, ""), "zzes": (2, "")}
"""Forms that FACTUAL's captions and the treebank hold too few of to be learned."""

_DOUBLING = re.compile(r"[^aeiou]*[aeiou][bdgklmnprt]")
"""Verbs whose last letter is doubled before -ing."""

MIN_SHARED = 0.6
"""Share of letters that a name has in common with the words that it stands for."""

MAX_LONGER = 3
"""Letters by which it may be longer: `wood` is `wooden`, but `taking` is not `taking photo`."""

MAX_SUFFIX = 5
MAX_KEPT = 20_000  # lemmas kept for the words that come again


def is_said(name: str, text: str) -> bool:
    """Whether a name is another way to write `text`, not another word that often goes with it.

    A numeral may become its digit, a pronoun `man`, `woman` or `people`; any other word keeps most
    of its letters: `t shirt` and `t-shirt`, `frisbie` and `frisbee`, but not `gear` and `dogs`.
    """
    if name in (NUMBERS.get(text), PRONOUNS.get(text)):
        return True
    name, text = canonical(name), canonical(text)
    if name[:1] != text[:1] or len(name) > len(text) + MAX_LONGER:
        return False
    return difflib.SequenceMatcher(None, name, text, autojunk=False).ratio() >= MIN_SHARED


def canonical(text: str) -> str:
    """The text without case, spaces, hyphens and apostrophes: `T-shirt` and `t shirt` agree."""
    return "".join(c for c in text.lower() if c not in " -'\t\n")


def as_written(text: str) -> str:
    """The text in lower case and with single spaces."""
    return " ".join(text.lower().split())


@dataclass(frozen=True)
class NormalForms:
    """How words are written in a scene graph where they are not written as the caption has them.

    Attributes:
        objects: text of an object's span, lower case, to its name, `guy` to `person`.
        attributes: text of an attribute's span, lower case, to its name, `two` to `2`.
        lemmas: a predicate's word, lower case, to the form that predicates have.
        suffixes: the last letters of a word to what is cut off and what is put there, for words
            that `lemmas` does not know; the longest suffix decides.
    """

    objects: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)
    lemmas: Mapping[str, str] = field(default_factory=dict)
    suffixes: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    _kept: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    def that_are_said(self) -> "NormalForms":
        """Those whose names are other ways to write the words, which is all that may be written."""
        objects, attributes = (
            {text: name for text, name in names.items() if is_said(name, text)}
            for names in (self.objects, self.attributes)
        )
        return NormalForms(objects, attributes, self.lemmas, self.suffixes)

    def object_name(self, text: str) -> str:
        """The name of an object whose span reads `text`."""
        text = as_written(text)
        return self.objects.get(text, text)

    def attribute_name(self, text: str) -> str:
        """The name of an attribute whose span reads `text`."""
        text = as_written(text)
        return self.attributes.get(text, text)

    def lemma(self, word: str) -> str:
        """The form that a predicate has of `word`."""
        lemma = self._kept.get(word)
        if lemma is None:
            if len(self._kept) > MAX_KEPT:
                self._kept.clear()
            lemma = self._kept[word] = self._lemma(word.lower())
        return lemma

    def _lemma(self, word: str) -> str:
        if word in self.lemmas:
            return self.lemmas[word]
        for length in range(min(MAX_SUFFIX, len(word) - 1), 0, -1):
            edit = self.suffixes.get(word[-length:])
            if edit is not None and len(word) > edit[0]:
                return word[: len(word) - edit[0]] + edit[1]
        return word

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        return {
            "objects": dict(self.objects),
            "attributes": dict(self.attributes),
            "lemmas": dict(self.lemmas),
            "suffixes": {suffix: list(edit) for suffix, edit in self.suffixes.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "NormalForms":
        """The normal forms that `to_json` wrote."""
        suffixes = {suffix: (cut, put) for suffix, (cut, put) in data["suffixes"].items()}
        return cls(data["objects"], data["attributes"], data["lemmas"], suffixes)


IRREGULAR = {
    "men": "man",
    "women": "woman",
    "people": "person",
    "children": "child",
    "ladies": "lady",
}


def singular(noun: str) -> str:
    """One of what a plural names: `buses` are each a `bus`; a singular stays as it is."""
    start, _, last = noun.rpartition(" ")
    if last in IRREGULAR:
        last = IRREGULAR[last]
    elif last.endswith(("sses", "shes", "ches", "xes", "uses")):
        last = last[:-2]
    elif last.endswith("s") and not last.endswith(("ss", "us")) and len(last) > 3:
        last = last[:-1]
    return f"{start} {last}".strip()


def progressive(verb: str) -> str:
    """The form in -ing of a verb's lemma: `sit` gives `sitting`, `dance` gives `dancing`."""
    if verb.endswith("ie"):
        return verb[:-2] + "ying"
    if verb.endswith("e") and not verb.endswith(("ee", "oe", "ye")):
        return verb[:-1] + "ing"
    return verb + verb[-1] * bool(_DOUBLING.fullmatch(verb)) + "ing"


def suffix_edits(
    pairs: Iterable[tuple[str, str]], min_count: int = 3
) -> dict[str, tuple[int, str]]:
    """The edit that most words of each ending take to become their lemma.

    Args:
        pairs: distinct words and their lemmas, lower case.
        min_count: an ending of fewer words is left out.
    """
    edits: dict[str, Counter[tuple[int, str]]] = defaultdict(Counter)
    for word, lemma in pairs:
        shared = _shared_prefix(word, lemma)
        edit = (len(word) - shared, lemma[shared:])
        for length in range(1, min(MAX_SUFFIX, len(word) - 1) + 1):
            if edit[0] <= length:
                edits[word[-length:]][edit] += 1
    best: dict[str, tuple[int, str]] = {}
    for suffix in sorted(edits, key=len):
        edit, count = edits[suffix].most_common(1)[0]
        inherited = next(
            (best[suffix[i:]] for i in range(1, len(suffix)) if suffix[i:] in best), None
        )
        if count >= min_count and edit != inherited:
            best[suffix] = edit
    return best


def _shared_prefix(one: str, other: str) -> int:
    for i, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return i
    return min(len(one), len(other))
