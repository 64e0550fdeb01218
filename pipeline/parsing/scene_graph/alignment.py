"""Align gold scene graphs, which are strings, with tokens: training data for the component.

Gold is strings alone: `( man , ride , horse )`. Objects and attributes are found in their caption
by their letters; those that are not (`guy` for `person`, a misspelt word) by what they go together
with elsewhere. A predicate is split into its first word and the rest (`sit` and `on top of`): the
first is a token's lemma or one of a closed set, the rest always one of a closed set.
"""

import difflib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from spacy.tokens import Doc

from pipeline.parsing.scene_graph.normal_forms import (
    LEMMAS,
    NUMBERS,
    PRONOUNS,
    SUFFIXES,
    NormalForms,
    as_written,
    canonical,
    singular,
    suffix_edits,
)
from pipeline.parsing.score import Strings

MAX_SPAN = 6
MIN_SIMILARITY = 0.75  # of letters, for a misspelt word
MIN_ASSOCIATION = 0.15  # Dice coefficient of a string and a span

Place = tuple[int, int]


@dataclass(frozen=True)
class NodeSpan:
    """Tokens `start` up to `end` that name an object or an attribute."""

    start: int
    end: int
    is_attribute: bool
    string: str


@dataclass(frozen=True)
class AlignedGraph:
    """A caption's gold graph over its tokens.

    Attributes:
        nodes: spans that do not overlap, in the caption's order.
        relations: subject node, predicate, object node. A relation of a node with itself holds
            among the things that it names: `two cars next to each other`.
        attributes: subject node, attribute node.
        is_complete: whether everything that gold says is here.
    """

    nodes: tuple[NodeSpan, ...]
    relations: tuple[tuple[int, str, int], ...]
    attributes: tuple[tuple[int, int], ...]
    is_complete: bool

    def strings(self) -> list[Strings]:
        """The triples as strings; where there are none, the objects alone."""
        names = [node.string for node in self.nodes]
        triples: list[Strings] = [
            (names[s], p, names[o]) if s != o else (singular(names[s]), p, singular(names[s]))
            for s, p, o in self.relations
        ]
        triples += [(names[s], "is", names[a]) for s, a in self.attributes]
        return triples or [(node.string,) for node in self.nodes if not node.is_attribute]


def learn_normal_forms(
    docs: Sequence[Doc],
    graphs: Sequence[Iterable[Strings]],
    lemmas: Iterable[tuple[str, str]] = (),
) -> NormalForms:
    """Count how strings differ from the words that say them.

    Args:
        docs: captions.
        graphs: their gold triples.
        lemmas: verbs and their lemmas from elsewhere, such as a treebank; gold overrules them.
    """
    objects, attributes = _Renaming(), _Renaming()
    for doc, triples in zip(docs, graphs, strict=True):
        spans = _spans_by_letters(doc)
        wanted_objects, wanted_attributes = _wanted(triples)
        objects.count(doc, spans, wanted_objects)
        attributes.count(doc, spans, wanted_attributes)
    words, edits = _predicate_lemmas(docs, graphs, dict(lemmas))
    return NormalForms(
        objects.result() | PRONOUNS,
        attributes.result() | NUMBERS,
        words | LEMMAS,
        edits | SUFFIXES,
    )


def align(doc: Doc, triples: Iterable[Strings], normal_forms: NormalForms) -> AlignedGraph:
    """Find a gold graph's strings among a caption's tokens.

    A string that stands in the caption twice is taken where its triple's other string is nearest,
    and of two as near, where the subject comes first.
    """
    triples = [tuple(s.lower() for s in triple) for triple in triples]
    finder = _Finder(doc, normal_forms)
    nodes: dict[tuple[int, int], NodeSpan] = {}
    relations, attributes, is_complete = [], [], True
    for triple in triples:
        ends = finder.ends(triple)
        if ends is None or not all(_fits(end, nodes) for end in ends):
            is_complete = False
            continue
        for end in ends:
            nodes.setdefault((end.start, end.end), end)
        keys = [(end.start, end.end) for end in ends]
        if len(triple) == 3 and triple[1] == "is":
            attributes.append((keys[0], keys[1]))
        elif len(triple) == 3:
            relations.append((keys[0], triple[1], keys[1]))
    order = sorted(nodes)
    place = {key: i for i, key in enumerate(order)}
    return AlignedGraph(
        nodes=tuple(nodes[key] for key in order),
        relations=tuple((place[s], p, place[o]) for s, p, o in relations),
        attributes=tuple((place[s], place[a]) for s, a in attributes),
        is_complete=is_complete,
    )


class _Finder:
    """Where a caption says a string."""

    def __init__(self, doc: Doc, normal_forms: NormalForms) -> None:
        self.doc, self.spans = doc, _spans_by_letters(doc)
        self.named: dict[bool, dict[str, list[Place]]] = {}
        for is_attribute, names in ((False, normal_forms.objects), (True, normal_forms.attributes)):
            named: dict[str, list[Place]] = defaultdict(list)
            for places in self.spans.values():
                for place in places:
                    text = _text(doc, place)
                    if text in names:
                        named[names[text]].append(place)
            self.named[is_attribute] = named

    def ends(self, triple: Strings) -> tuple[NodeSpan, ...] | None:
        subjects = self.places(triple[0], is_attribute=False)
        if len(triple) == 1:
            return subjects[:1] or None
        others = self.places(triple[2], is_attribute=triple[1] == "is")
        pairs = [(s, o) for s in subjects for o in others if _are_apart(s, o)]
        if (
            not pairs and triple[0] == triple[2]
        ):  # `two cars next to each other`: one span, both ends
            pairs = [(s, s) for s in subjects]
        return min(pairs, key=_distance, default=None)

    def places(self, string: str, *, is_attribute: bool) -> tuple[NodeSpan, ...]:
        found = self.spans.get(canonical(string)) or self.named[is_attribute].get(string)
        found = found or _similar(string, self.spans)
        return tuple(NodeSpan(start, end, is_attribute, string) for start, end in found)


class _Renaming:
    """Counts of the strings that spans stand for, where those are not what the spans read."""

    def __init__(self) -> None:
        self.strings: Counter[str] = Counter()
        self.texts: Counter[str] = Counter()
        self.itself: Counter[str] = Counter()
        self.together: dict[str, Counter[str]] = defaultdict(Counter)
        self.written: dict[str, Counter[str]] = defaultdict(Counter)

    def count(self, doc: Doc, spans: dict[str, list[Place]], wanted: set[str]) -> None:
        """Count one caption with its objects, or with its attributes."""
        self.texts.update({_text(doc, place) for places in spans.values() for place in places})
        taken: set[int] = set()
        lost = []
        for string in wanted:
            places = spans.get(canonical(string), ())
            for start, end in places:
                taken |= set(range(start, end))
            if places:
                self.written[_text(doc, places[0])][string] += 1
            else:
                lost.append(string)
        for string in lost:
            self.strings[string] += 1
            free = {i for i in range(len(doc)) if i not in taken and doc[i].text.isalpha()}
            short = {(i, j) for i in free for j in (i + 1, i + 2) if j == i + 1 or j - 1 in free}
            self.together[string].update({_text(doc, place) for place in short})

    def result(self) -> dict[str, str]:
        """Spans that mostly stand for another string than their own text."""
        votes: dict[str, Counter[str]] = defaultdict(Counter)
        for string, texts in self.together.items():
            dice = {
                t: n / (self.strings[string] + self.texts[t]) for t, n in texts.items() if n > 1
            }
            best = max(dice, key=lambda text: (dice[text], -len(text)), default="")
            for text in dice:
                if dice[text] >= MIN_ASSOCIATION and (text == best or best not in text.split()):
                    votes[text][string] += texts[text]
        renamed = {}
        for text in {*votes, *self.written}:
            counts = self.written[text] + votes[text]
            string = counts.most_common(1)[0][0]
            if string != text:
                renamed[text] = string
        return renamed


def _predicate_lemmas(
    docs: Sequence[Doc], graphs: Sequence[Iterable[Strings]], known: dict[str, str]
) -> tuple[dict[str, str], dict[str, tuple[int, str]]]:
    """Lemmas of words that begin a predicate, and the edits of endings."""
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    heads: Counter[str] = Counter()
    for doc, triples in zip(docs, graphs, strict=True):
        words = {token.lower_ for token in doc}
        for head in {t[1].lower().split()[0] for t in triples if len(t) == 3 and t[1] != "is"}:
            heads[head] += 1
            says = [w for w in words if w == head or known.get(w) == head] or [
                w for w in words if _may_be_inflected(w, head)
            ]
            for word in says:
                votes[word][head] += 1
    lemmas = {word: counts.most_common(1)[0][0] for word, counts in votes.items()}
    pairs = {**{word: lemma for word, lemma in known.items() if word.isalpha()}, **lemmas}
    edits = suffix_edits(pairs.items())
    by_rule = NormalForms(suffixes=edits)
    needed = {w: lemma for w, lemma in pairs.items() if w in lemmas or lemma in heads}
    return {w: lemma for w, lemma in needed.items() if by_rule.lemma(w) != lemma}, edits


def _may_be_inflected(word: str, lemma: str) -> bool:
    """Whether `word` looks like a form of `lemma`: `swinging` of `swing`, `lying` of `lay`."""
    stem = lemma.rstrip("e") if len(lemma) > 3 else lemma
    if word.startswith(stem):
        return word[len(stem) :].lstrip(stem[-1]) in {"s", "es", "ed", "d", "ing", "en", "n", "e"}
    return lemma == "lay" and word in {"lying", "lies", "lie", "lain", "laid"}


def _wanted(triples: Iterable[Strings]) -> tuple[set[str], set[str]]:
    objects, attributes = set(), set()
    for triple in triples:
        triple = tuple(s.lower() for s in triple)
        objects.add(triple[0])
        if len(triple) == 3:
            (attributes if triple[1] == "is" else objects).add(triple[2])
    return objects, attributes


def _spans_by_letters(doc: Doc) -> dict[str, list[Place]]:
    spans: dict[str, list[Place]] = defaultdict(list)
    for start in range(len(doc)):
        text = ""
        for end in range(start + 1, min(len(doc), start + MAX_SPAN) + 1):
            text += canonical(doc[end - 1].text)
            if text:
                spans[text].append((start, end))
    return spans


def _similar(string: str, spans: dict[str, list[Place]]) -> list[Place]:
    """The span that is `string` misspelt, if any."""
    wanted = canonical(string)
    near = difflib.get_close_matches(wanted, list(spans), n=1, cutoff=MIN_SIMILARITY)
    return spans[near[0]] if near and len(wanted) > 2 else []


def _text(doc: Doc, place: Place) -> str:
    return as_written(doc[place[0] : place[1]].text)


def _are_apart(one: NodeSpan, other: NodeSpan) -> bool:
    return one.end <= other.start or other.end <= one.start


def _distance(pair: tuple[NodeSpan, NodeSpan]) -> tuple[int, bool]:
    """How far apart two nodes begin; of two pairs as far, the one in reading order is nearer."""
    return abs(pair[0].start - pair[1].start), pair[0].start > pair[1].start


def _fits(node: NodeSpan, nodes: dict[tuple[int, int], NodeSpan]) -> bool:
    """Whether the node is one of `nodes`, or lies beside all of them."""
    same = nodes.get((node.start, node.end))
    if same is not None:
        return same.is_attribute == node.is_attribute and same.string in (
            node.string,
            singular(node.string),
        )
    return all(_are_apart(node, other) for other in nodes.values())
