"""The extensions of a parsed caption: `doc._.objects`, `doc._.triples` and `doc._.negated`.

A component stores its result with `set_triples`. `doc.user_data`
holds offsets and strings as plain lists, and the getters build spans from them: spans stored in
`doc._` break `Doc.to_bytes`, `DocBin(store_user_data=True)` and `nlp.pipe(n_process=2)`. Offsets
count characters, under the kind of key that spaCy moves with the text, so that the triples stay
those of their words in `span.as_doc(copy_user_data=True)`, `Doc.from_docs` and after
`doc.retokenize`.

Example:
    >>> import spacy
    >>> from pipeline.shards.records import CaptionSpan, CaptionTriple
    >>> doc = spacy.blank("en")("a man riding a horse")
    >>> man, horse = CaptionSpan(1, 2, "man"), CaptionSpan(4, 5, "horse")
    >>> ride = CaptionTriple(0, CaptionSpan(2, 3, "ride"), 1, None, "verb")
    >>> set_triples(doc, [man, horse], [ride])
    >>> [(t.subject.text, t.predicate.text, t.object.text, t.strings) for t in doc._.triples]
    [('man', 'riding', 'horse', ('man', 'ride', 'horse'))]
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from spacy.attrs import IDX, LENGTH
from spacy.tokens import Doc, Span

from pipeline.errors import DataError
from pipeline.parsing.strings import strings_of, triple_strings
from pipeline.shards.records import CaptionSpan, CaptionTriple

IS = "is"
"""Predicate of a triple that says an attribute of its subject."""

NO_WORD = (-1, -1)
"""Span of a predicate (or an attribute) that no token of the caption says."""

NEGATED = "not:"
"""Start of the rule's name of a triple that the caption denies."""

_KEY = ("._.", "relation_triples")
"""Start of the key in `doc.user_data`; the first and last character that it speaks of follow."""

Graph = tuple[tuple[CaptionSpan, ...], tuple[CaptionTriple, ...], bool]
"""Objects, triples, and whether the caption denies anything."""


@dataclass(frozen=True)
class RelationObject:
    """A thing that the caption names.

    Attributes:
        span: its tokens.
        string: its normalised name, such as `fire hydrant`.
    """

    span: Span
    string: str


@dataclass(frozen=True)
class RelationTriple:
    """A relation `(subject, predicate, object)`, or an attribute `(subject, is, attribute)`.

    Attributes:
        subject: tokens of the subject.
        predicate: tokens of the predicate; None where no token says it.
        object: tokens of the object or attribute; None for an attribute that no token says.
        strings: the normalised subject, predicate and object or attribute.
        is_attribute: whether `object` is an attribute, not one of the caption's objects.
        rule: name of the rule or component that made the triple.
    """

    subject: Span
    predicate: Span | None
    object: Span | None
    strings: tuple[str, str, str]
    is_attribute: bool
    rule: str

    @property
    def is_negated(self) -> bool:
        """Whether the caption denies it (kept only with the component's `keep_negated`)."""
        return self.rule.startswith(NEGATED)


def set_triples(
    doc: Doc,
    objects: Sequence[CaptionSpan],
    triples: Sequence[CaptionTriple],
    *,
    negated: bool = False,
) -> None:
    """Store the objects and triples of a caption, replacing earlier ones.

    Args:
        doc: the caption.
        objects: the things it names, including those without a relation.
        triples: relations and attributes; `subject` and `object` are indices in `objects`. A
            predicate or attribute that no token says has the span (-1, -1).
        negated: whether a triple that the caption denies was left out.

    Raises:
        ValueError: a span is outside the caption, or a triple names an object that does not exist.
    """
    for span in objects:
        if not 0 <= span.start < span.end <= len(doc):
            raise ValueError(f"object {span} lies outside the {len(doc)} tokens of the caption")
    for triple in triples:
        _check(triple, len(objects), len(doc))
    for key in [key for key, _ in _entries(doc)]:
        del doc.user_data[key]
    text = doc.text
    columns = doc.to_array([IDX, LENGTH]).astype(np.int64)
    begins, ends = columns[:, 0].tolist(), columns.sum(1).tolist()

    def packed(span: CaptionSpan) -> list[int | str]:
        if (span.start, span.end) == NO_WORD:
            return [*NO_WORD, span.string]
        return [begins[span.start], ends[span.end - 1], span.string]

    user_data: dict[Any, Any] = doc.user_data  # spaCy's stubs know keys of text alone
    user_data[(*_KEY, 0, len(text))] = [
        text,
        [packed(span) for span in objects],
        [
            [t.subject, packed(t.predicate), t.object, t.attribute and packed(t.attribute), t.rule]
            for t in triples
        ],
        negated,
    ]


def stored_graph(doc: Doc) -> Graph:
    """The caption's objects and triples, as records of a shard; empty if no component ran.

    In a Doc that is part of a caption, what lies partly outside is left out.

    Raises:
        DataError: the words of the Doc are not those that the triples were read from.
    """
    objects: list[CaptionSpan] = []
    triples: list[CaptionTriple] = []
    is_denying = False
    for key, (text, its_objects, its_triples, negated) in _entries(doc):
        tokens = _TokensAt(doc, text, key[2])
        place: dict[int, int] = {-1: -1}
        for i, row in enumerate(its_objects):
            if (span := tokens.span(row)) is not None:
                place[i] = len(objects)
                objects.append(span)
        for subject, predicate, object_, attribute, rule in its_triples:
            said = tokens.span(predicate)
            attribute_said = attribute and tokens.span(attribute)
            if said is None or (attribute is not None and attribute_said is None):
                continue
            if subject in place and object_ in place:
                triples.append(
                    CaptionTriple(place[subject], said, place[object_], attribute_said, rule)
                )
        is_denying = is_denying or negated
    return tuple(objects), tuple(triples), is_denying


def stored_objects(doc: Doc) -> tuple[CaptionSpan, ...]:
    """The objects of `stored_graph`."""
    return stored_graph(doc)[0]


def stored_triples(doc: Doc) -> tuple[CaptionTriple, ...]:
    """The triples of `stored_graph`."""
    return stored_graph(doc)[1]


def string_tuples(doc: Doc) -> list[tuple[str, ...]]:
    """Each triple as `(s, r, o)` and each object in none of them as `(s,)`."""
    objects, triples, _ = stored_graph(doc)
    return strings_of(objects, triples)


def _check(triple: CaptionTriple, num_objects: int, num_tokens: int) -> None:
    if (triple.attribute is None) != (0 <= triple.object < num_objects):
        raise ValueError(f"{triple} needs either an attribute or one of {num_objects} objects")
    if not 0 <= triple.subject < num_objects:
        raise ValueError(f"subject of {triple} is none of {num_objects} objects")
    for span in (triple.predicate, triple.attribute):
        if span is None or (span.start, span.end) == NO_WORD:
            continue
        if not 0 <= span.start < span.end <= num_tokens:
            raise ValueError(f"{span} lies outside the {num_tokens} tokens of the caption")


def _entries(doc: Doc) -> list[tuple[Any, Any]]:
    """What components stored, in the order of the text; several in a Doc joined of others."""
    found = [
        (key, value)
        for key, value in doc.user_data.items()
        if isinstance(key, tuple) and key[:2] == _KEY
    ]
    return sorted(found, key=lambda entry: entry[0][2])


class _TokensAt:
    """Finds the tokens of a Doc at the characters of the text that triples were read from.

    Args:
        doc: the Doc.
        text: the text that was read.
        start: where it begins in the Doc; negative if the Doc has only a later part.

    Raises:
        DataError: the Doc has other words there.
    """

    def __init__(self, doc: Doc, text: str, start: int) -> None:
        ours = doc.text
        self._start = start
        self._inside = max(0, start), min(len(ours), start + len(text))
        first, last = self._inside
        if ours[first:last] != text[first - start : last - start]:
            raise DataError(
                f"the words of this Doc, {ours[first:last][:40]!r}, are not those that its triples "
                f"were read from, {text[first - start : last - start][:40]!r}. Parse its text anew."
            )
        self._begins: list[int] = doc.to_array(IDX).tolist()

    def span(self, row: Sequence) -> CaptionSpan | None:
        """The span of tokens, or None if a part of it is not in the Doc."""
        begin, end, string = row
        if (begin, end) == NO_WORD:
            return CaptionSpan(*NO_WORD, string)
        begin, end = begin + self._start, end + self._start
        if begin < self._inside[0] or end > self._inside[1]:
            return None
        return CaptionSpan(
            bisect_right(self._begins, begin) - 1, bisect_left(self._begins, end), string
        )


def _span(doc: Doc, span: CaptionSpan) -> Span | None:
    return None if (span.start, span.end) == NO_WORD else doc[span.start : span.end]


def _objects(doc: Doc) -> list[RelationObject]:
    return [RelationObject(doc[s.start : s.end], s.string) for s in stored_objects(doc)]


def _triples(doc: Doc) -> list[RelationTriple]:
    objects, stored, _ = stored_graph(doc)
    spans = [doc[span.start : span.end] for span in objects]
    return [
        RelationTriple(
            subject=spans[triple.subject],
            predicate=_span(doc, triple.predicate),
            object=_span(doc, triple.attribute) if triple.attribute else spans[triple.object],
            strings=triple_strings(triple, objects),
            is_attribute=triple.attribute is not None,
            rule=triple.rule,
        )
        for triple in stored
    ]


def _negated(doc: Doc) -> bool:
    return stored_graph(doc)[2]


Doc.set_extension("objects", getter=_objects, force=True)
Doc.set_extension("triples", getter=_triples, force=True)
Doc.set_extension("negated", getter=_negated, force=True)
