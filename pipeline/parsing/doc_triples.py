"""The extensions of a parsed caption: `doc._.objects`, `doc._.triples` and `doc._.negated`.

The rules and the learned component both store their result with `set_triples`. `doc.user_data`
holds offsets and strings as plain lists, and the getters build spans from them: spans stored in
`doc._` break `Doc.to_bytes`, `DocBin(store_user_data=True)` and `nlp.pipe(n_process=2)`.

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

from collections.abc import Sequence
from dataclasses import dataclass

from spacy.tokens import Doc, Span

from pipeline.shards.records import CaptionSpan, CaptionTriple

IS = "is"
"""Predicate of a triple that says an attribute of its subject."""

NO_WORD = (-1, -1)
"""Span of a predicate (or an attribute) that no token of the caption says."""

NEGATED = "not:"
"""Start of the rule's name of a triple that the caption denies."""

_KEY = "relation_triples"
_NOTHING = ((), (), False)


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
    doc.user_data[_KEY] = [
        [[span.start, span.end, span.string] for span in objects],
        [_packed(triple) for triple in triples],
        negated,
    ]


def stored_objects(doc: Doc) -> tuple[CaptionSpan, ...]:
    """The caption's objects, as records of a shard; empty if no component ran."""
    return tuple(CaptionSpan(*row) for row in doc.user_data.get(_KEY, _NOTHING)[0])


def stored_triples(doc: Doc) -> tuple[CaptionTriple, ...]:
    """The caption's triples, as records of a shard; empty if no component ran."""
    return tuple(_unpacked(row) for row in doc.user_data.get(_KEY, _NOTHING)[1])


def string_tuples(doc: Doc) -> list[tuple[str, ...]]:
    """Each triple as `(s, r, o)` and each object in none of them as `(s,)`."""
    return strings_of(stored_objects(doc), stored_triples(doc))


def strings_of(
    objects: Sequence[CaptionSpan], triples: Sequence[CaptionTriple]
) -> list[tuple[str, ...]]:
    """`string_tuples` of records."""
    tuples: list[tuple[str, ...]] = []
    related = set()
    for triple in triples:
        related |= {triple.subject, triple.object}
        tuples.append(_strings(triple, objects))
    tuples += [(span.string,) for i, span in enumerate(objects) if i not in related]
    return tuples


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


def _packed(triple: CaptionTriple) -> list[int | str | list[int | str] | None]:
    predicate, attribute = triple.predicate, triple.attribute
    return [
        triple.subject,
        [predicate.start, predicate.end, predicate.string],
        triple.object,
        attribute and [attribute.start, attribute.end, attribute.string],
        triple.rule,
    ]


def _unpacked(row: Sequence) -> CaptionTriple:
    subject, predicate, object_, attribute, rule = row
    attribute = attribute and CaptionSpan(*attribute)
    return CaptionTriple(subject, CaptionSpan(*predicate), object_, attribute, rule)


def _strings(triple: CaptionTriple, objects: Sequence[CaptionSpan]) -> tuple[str, str, str]:
    last = triple.attribute or objects[triple.object]
    return objects[triple.subject].string, triple.predicate.string, last.string


def _span(doc: Doc, span: CaptionSpan) -> Span | None:
    return None if (span.start, span.end) == NO_WORD else doc[span.start : span.end]


def _objects(doc: Doc) -> list[RelationObject]:
    return [RelationObject(doc[s.start : s.end], s.string) for s in stored_objects(doc)]


def _triples(doc: Doc) -> list[RelationTriple]:
    objects = stored_objects(doc)
    spans = [doc[span.start : span.end] for span in objects]
    return [
        RelationTriple(
            subject=spans[triple.subject],
            predicate=_span(doc, triple.predicate),
            object=_span(doc, triple.attribute) if triple.attribute else spans[triple.object],
            strings=_strings(triple, objects),
            is_attribute=triple.attribute is not None,
            rule=triple.rule,
        )
        for triple in stored_triples(doc)
    ]


def _negated(doc: Doc) -> bool:
    return doc.user_data.get(_KEY, _NOTHING)[2]


Doc.set_extension("objects", getter=_objects, force=True)
Doc.set_extension("triples", getter=_triples, force=True)
Doc.set_extension("negated", getter=_negated, force=True)
