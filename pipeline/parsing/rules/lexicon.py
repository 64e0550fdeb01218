"""The lexicon of the rules, `lexicon.tsv`: how FACTUAL annotates compounds and some words.

`tennis racket` is one object, `brick wall` a wall that is brick, `tree branch` a branch that a tree
has. No rule tells which, so the table holds what the training captions say (FACTUAL, Li et al.
2023, MIT licence), and a modifier it does not know with that noun goes by what it mostly is.

Made by:
    python -m pipeline.parsing.rules.lexicon train.csv.gz pipeline/parsing/rules/lexicon.tsv
"""

import csv
import gzip
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from pipeline.parsing.rules.wordlists import CLOTHES, PEOPLE

Strings = tuple[str, ...]
Key = TypeVar("Key", str, Strings)

NAME = "name"
ATTRIBUTE = "attribute"
PHRASE = "phrase"
_PATH = Path(__file__).with_name("lexicon.tsv")
_MIN_COUNT = 2
_FUNCTION_WORDS = frozenset(("a", "an", "the", "of", "in", "on", "at", "to", "for", "with", "no"))
_WORD = re.compile(r"[^\W_][\w'-]*")
_TRIPLE = re.compile(r"\(([^()]*)\)")


@dataclass(frozen=True)
class Lexicon:
    """What words side by side mean.

    Attributes:
        pairs: (modifier, noun) to (outcome, string): `name` and the name of both together,
            `attribute` and the attribute, `phrase` where both are one attribute of what follows
            (`chain link`), or a predicate with the string `<` where the modifier is its
            subject (`tree branch`: have) and `>` where the noun is (`tile floor`: on).
        modifiers: a modifier to what it is with most nouns, `name` or `attribute`.
        words: a noun to the name that it goes by (`guy`: person).
        attributes: an attribute to the form it takes (`wood`: wooden).
        verbs: base forms of verbs that captions use.
        worn: (`in` or `with`, clothes) to what a person does with them (`in`, `shirt`: wear).
    """

    pairs: dict[tuple[str, str], tuple[str, str]]
    modifiers: dict[str, str]
    words: dict[str, str]
    attributes: dict[str, str]
    verbs: set[str]
    worn: dict[tuple[str, str], str]


@lru_cache(maxsize=1)
def lexicon() -> Lexicon:
    """The table that ships with the package."""
    made = Lexicon({}, {}, {}, {}, set(), {})
    with _PATH.open(encoding="utf-8") as stream:
        for line in stream:
            kind, words, outcome, string = line.rstrip("\n").split("\t")
            if kind == "pair":
                modifier, noun = words.split(" ")
                made.pairs[modifier, noun] = (outcome, string)
            elif kind == "worn":
                preposition, noun = words.split(" ")
                made.worn[preposition, noun] = outcome
            elif kind == "verb":
                made.verbs.add(words)
            elif kind == "modifier":
                made.modifiers[words] = outcome
            else:
                (made.words if kind == "word" else made.attributes)[words] = string
    return made


def gold_triples(graph: str) -> list[Strings]:
    """`( man , ride , horse ) , ( bed )` as tuples of strings."""
    return [tuple(part.strip() for part in text.split(" , ")) for text in _TRIPLE.findall(graph)]


def build_lexicon(gold: Path) -> Iterator[Strings]:
    """Rows of the table (kind, words, outcome, string) from a CSV of captions and scene graphs."""
    with gzip.open(gold, "rt", encoding="utf-8") as stream:
        captions = [
            (_WORD.findall(row["caption"].lower()), gold_triples(row["scene_graph"]))
            for row in csv.DictReader(stream)
        ]
    pairs: dict[Strings, Counter[Strings]] = defaultdict(Counter)
    words: dict[str, Counter[str]] = defaultdict(Counter)
    attributes: dict[str, Counter[str]] = defaultdict(Counter)
    for caption, triples in captions:
        graph = _Graph(caption, triples)
        for pair in pairwise(caption):
            outcome = graph.of_pair(*pair)
            if outcome:
                pairs[pair][outcome] += 1
        for word in set(caption):
            words[word][graph.of_word(word)] += 1
            attributes[word][graph.of_attribute(word)] += 1
    yield from _pair_rows(pairs)
    yield from _form_rows("word", words)
    yield from _form_rows("attribute", attributes)
    yield from _verb_rows(captions)
    yield from _worn_rows(captions)


def forms_of_verb(verb: str) -> set[str]:
    """Regular forms of a verb: `ride`, `riding`, `rided`, `rides`."""
    stem = verb.removesuffix("e")
    doubled = verb + verb[-1]
    endings = {stem + "ing", stem + "ed", doubled + "ing", doubled + "ed"}
    return endings | {verb[:-1] + "ied"} if verb.endswith("y") else endings


class _Graph:
    """Looks up in one gold graph what became of words."""

    def __init__(self, caption: list[str], triples: list[Strings]) -> None:
        self.caption = frozenset(caption)
        relations = [t for t in triples if len(t) == 3 and t[1] != "is"]
        self.relations = {(t[0], t[2]): t[1] for t in relations}
        self.attributes = [(t[0], t[2]) for t in triples if len(t) == 3 and t[1] == "is"]
        self.names = {n for t in relations for n in (t[0], t[2])} | {t[0] for t in triples}
        self.new = {w for name in self.names for w in name.split()} - self.caption
        self.all = {w for t in triples for part in t for w in part.split()}

    def of_pair(self, modifier: str, noun: str) -> Strings | None:
        if modifier in _FUNCTION_WORDS or noun in _FUNCTION_WORDS:
            return None
        phrase = f"{modifier} {noun}"
        if any(f" {phrase} " in f" {name} " for name in self.names):
            return NAME, phrase
        joined = {modifier + noun, f"{modifier}-{noun}"} & self.new
        if joined:
            return NAME, joined.pop()
        if len(self.new) == 1 and next(iter(self.new)).endswith(noun[-4:]):
            return NAME, next(iter(self.new))  # tee shirt: t-shirt
        if any(f" {phrase} " in f" {a} " for _, a in self.attributes):
            return PHRASE, phrase
        said = [a for n, a in self.attributes if n.endswith(noun) and modifier in a.split()]
        if said:
            return ATTRIBUTE, modifier
        if (modifier, noun) in self.relations:
            return self.relations[modifier, noun], "<"
        if (noun, modifier) in self.relations:
            return self.relations[noun, modifier], ">"
        return None

    def of_word(self, word: str) -> str:
        if word not in self.all and len(self.new) == 1:
            return next(iter(self.new))
        return word

    def of_attribute(self, word: str) -> str:
        new = {a for _, a in self.attributes if " " not in a and a not in self.caption}
        if word not in self.all and len(new) == 1:
            return next(iter(new))
        return word


def _pair_rows(pairs: dict[Strings, Counter[Strings]]) -> Iterator[Strings]:
    modifiers: dict[str, Counter[str]] = defaultdict(Counter)
    for (modifier, _), outcomes in pairs.items():
        for (outcome, _), count in outcomes.items():
            if outcome in (NAME, ATTRIBUTE):
                modifiers[modifier][outcome] += count
    usual = {modifier: _majority(outcomes) for modifier, outcomes in modifiers.items()}
    for (modifier, noun), outcomes in sorted(pairs.items()):
        best = _majority(outcomes)
        if best and not best[0] == usual.get(modifier) == ATTRIBUTE:
            yield "pair", f"{modifier} {noun}", *best
    for modifier, outcome in sorted(usual.items()):
        if outcome:
            yield "modifier", modifier, outcome, ""


def _majority(counts: Counter[Key]) -> Key | None:
    if not counts:
        return None
    best, count = counts.most_common(1)[0]
    return best if count >= _MIN_COUNT and 2 * count > counts.total() else None


def _form_rows(kind: str, forms: dict[str, Counter[str]]) -> Iterator[Strings]:
    for word, counts in sorted(forms.items()):
        form, count = counts.most_common(1)[0]
        if form != word and count > _MIN_COUNT and 2 * count > counts.total():
            yield kind, word, "", form


def _verb_rows(captions: list[tuple[list[str], list[Strings]]]) -> Iterator[Strings]:
    """First words of predicates that a caption has in another form: `ride` where `riding`."""
    verbs: Counter[str] = Counter()
    for caption, triples in captions:
        for triple in triples:
            first = triple[1].split()[0] if len(triple) == 3 else ""
            if len(first) > 2 and forms_of_verb(first) & set(caption):
                verbs[first] += 1
    yield from (("verb", verb, "", "") for verb in sorted(verbs))


def _worn_rows(captions: list[tuple[list[str], list[Strings]]]) -> Iterator[Strings]:
    """`man in shirt`, `man with glasses`: what the graph says that the person does with them."""
    counts: dict[Strings, Counter[str]] = defaultdict(Counter)
    for caption, triples in captions:
        said = {t[2]: t[1] for t in triples if len(t) == 3 and t[0] in PEOPLE and t[2] in CLOTHES}
        for place, word in enumerate(caption):
            near = caption[place + 1 : place + 6]
            noun = next((n for n in near if n in CLOTHES), None)
            if word in ("in", "with") and noun and said.get(noun) in ("in", "with", "wear", "have"):
                counts[word, noun][said[noun]] += 1
    for (preposition, noun), outcomes in sorted(counts.items()):
        yield "worn", f"{preposition} {noun}", outcomes.most_common(1)[0][0], ""


if __name__ == "__main__":
    table = "".join("\t".join(row) + "\n" for row in build_lexicon(Path(sys.argv[1])))
    Path(sys.argv[2]).write_text(table, encoding="utf-8")
