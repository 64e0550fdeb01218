"""The objects and triples of one caption, as the rules find them."""

from dataclasses import replace

from pipeline.parsing.doc_triples import IS, NEGATED, NO_WORD
from pipeline.shards.records import CaptionSpan, CaptionTriple

Words = tuple[int, int, str]
"""Start, end (exclusive) and normalised string; (-1, -1) where no token says it."""


class GraphBuilder:
    """Collects objects, each named once by its head token, and triples without repetition.

    Attributes:
        objects: in the order in which they were named.
        triples: in the order in which they were found; a denied one has `not:` before its rule.
    """

    def __init__(self) -> None:
        self.objects: list[CaptionSpan] = []
        self.triples: list[CaptionTriple] = []
        self._index: dict[int, int] = {}
        self._seen: set[tuple[int, int, str, str | None]] = set()
        self._denied: set[int] = set()

    def name(self, token: int, start: int, end: int, string: str) -> None:
        """Say what the object of a token is called; the first name counts."""
        if token not in self._index:
            self._index[token] = len(self.objects)
            self.objects.append(CaptionSpan(start, end, string))

    def deny(self, token: int) -> None:
        """Say that an object is said not to be there: `no leaves`."""
        self._denied.add(self._index[token])

    def said(self) -> tuple[list[CaptionSpan], list[CaptionTriple]]:
        """Objects and triples without what the caption denies."""
        kept = [i for i in range(len(self.objects)) if i not in self._denied]
        place = {old: new for new, old in enumerate(kept)} | {-1: -1}
        triples = [
            replace(triple, subject=place[triple.subject], object=place[triple.object])
            for triple in self.triples
            if not triple.rule.startswith(NEGATED)
        ]
        return [self.objects[i] for i in kept], triples

    def is_denied(self, token: int) -> bool:
        """Whether a token is an object that is said not to be there."""
        return self._index.get(token) in self._denied

    @property
    def is_denying(self) -> bool:
        """Whether the caption denies anything."""
        return bool(self._denied) or any(t.rule.startswith(NEGATED) for t in self.triples)

    def has(self, token: int) -> bool:
        """Whether a token is an object."""
        return token in self._index

    def string(self, token: int) -> str:
        """The name of a token's object."""
        return self.objects[self._index[token]].string

    def relate(
        self, subject: int, predicate: Words, object_: int, rule: str, *, negated: bool = False
    ) -> None:
        """Add (subject, predicate, object) where both tokens are objects."""
        if subject in self._index and object_ in self._index:
            indices = self._index[subject], self._index[object_]
            self._add(indices, predicate, None, rule, negated)

    def describe(self, subject: int, attribute: Words, rule: str, *, negated: bool = False) -> None:
        """Add (subject, is, attribute) where the token is an object."""
        if subject in self._index:
            self._add((self._index[subject], -1), (*NO_WORD, IS), attribute, rule, negated)

    def make_singular(self, token: int, lemma: str) -> None:
        """Call an object of several by the name of one, and drop their number."""
        index = self._index[token]
        span = self.objects[index]
        name = " ".join((*span.string.split()[:-1], lemma))
        self.objects[index] = CaptionSpan(span.start, span.end, name)
        self.triples = [t for t in self.triples if t.subject != index or t.rule != "number"]

    def drop_holding(self) -> None:
        """Drop (plate, with, food) where a pronoun says (food, on, plate)."""
        placed = {(t.object, t.subject) for t in self.triples if t.rule == "pronoun"}
        self.triples = [
            triple
            for triple in self.triples
            if (triple.subject, triple.object) not in placed
            or triple.predicate.string not in ("with", "have")
        ]

    def _add(
        self,
        indices: tuple[int, int],
        predicate: Words,
        attribute: Words | None,
        rule: str,
        negated: bool,
    ) -> None:
        negated = negated or not self._denied.isdisjoint(indices)
        key = (*indices, predicate[2], attribute[2] if attribute else None)
        if key in self._seen:
            return
        self._seen.add(key)
        said = attribute and CaptionSpan(*attribute)
        rule = NEGATED + rule if negated else rule
        self.triples.append(
            CaptionTriple(indices[0], CaptionSpan(*predicate), indices[1], said, rule)
        )
