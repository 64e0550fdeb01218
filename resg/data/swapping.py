"""Captions with subject and object of a relation exchanged: `a dog under a table` to `a table under
a dog`. The words are the same, and what they say is not.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from pipeline.shards.records import CaptionSpan, CaptionTriple, ParsedCaption
from resg.graphs.textual import span_head

JOINING = ("ADP", "CCONJ", "SCONJ", "PUNCT")
"""Parts of speech that stand between the things of a relation, whatever they depend on."""

Value = TypeVar("Value")
Phrase = tuple[int, int]
"""Start and end."""


def swapped_text(caption: ParsedCaption) -> str | None:
    """The caption with subject and object of its first relation exchanged; None without a relation.

    Each is taken with what stands before its head and depends on it, but for what belongs to the
    relation: `a red dog sits under the table` becomes `the table sits under a red dog`.
    """
    found = _exchange(caption)
    return None if found is None else " ".join(_moved(caption.forms, *found[1:]))


def swapped_caption(caption: ParsedCaption) -> ParsedCaption | None:
    """The same with the parse of the exchanged words: each phrase takes the other's place in it.

    The heads of the phrases exchange their own heads, dependency labels, dependents outside the
    phrases and relations; what belongs to a phrase, its attributes among it, moves with it. None
    where there is no relation, or where an object lies across the end of a phrase.
    """
    found = _exchange(caption)
    if found is None:
        return None
    triple, first, second = found
    order = _moved(range(len(caption.forms)), first, second)
    place = {token: index for index, token in enumerate(order)}
    heads, deprels = _exchanged_arcs(caption, first, second)
    try:
        objects = tuple(_moved_span(span, place) for span in caption.objects)
        triples = tuple(
            _exchanged_triple(one, triple.subject, triple.object, place) for one in caption.triples
        )
    except ValueError:
        return None
    return replace(
        caption,
        text=" ".join(caption.forms[token] for token in order),
        forms=tuple(caption.forms[token] for token in order),
        lemmas=tuple(caption.lemmas[token] for token in order),
        pos=tuple(caption.pos[token] for token in order),
        heads=tuple(place[heads[token]] for token in order),
        deprels=tuple(deprels[token] for token in order),
        objects=objects,
        triples=triples,
    )


def _exchange(caption: ParsedCaption) -> tuple[CaptionTriple, Phrase, Phrase] | None:
    """The first relation whose phrases can be exchanged, and the phrases in their order."""
    for triple in caption.triples:
        if triple.attribute is not None:
            continue
        first, second = sorted(
            phrase_of(caption, caption.objects[number], triple.predicate)
            for number in (triple.subject, triple.object)
        )
        if first[1] <= second[0]:
            words = [word.lower() for word in caption.forms]
            if _moved(words, first, second) != tuple(words):
                return triple, first, second
    return None


def _moved(values: Sequence[Value], first: Phrase, second: Phrase) -> tuple[Value, ...]:
    """Values of the tokens, in the order in which the phrases are exchanged."""
    return (
        *values[: first[0]],
        *values[slice(*second)],
        *values[first[1] : second[0]],
        *values[slice(*first)],
        *values[second[1] :],
    )


def _exchanged_arcs(
    caption: ParsedCaption, first: Phrase, second: Phrase
) -> tuple[list[int], list[str]]:
    """Heads, as tokens of the caption as it was, and labels."""
    ends = [span_head(CaptionSpan(*phrase, ""), caption.heads) for phrase in (first, second)]
    other = dict(zip(ends, reversed(ends), strict=True))
    heads = [other.get(head, head) for head in caption.heads]
    deprels = list(caption.deprels)
    for phrase in (first, second):  # inside a phrase all stays
        for token in range(*phrase):
            if caption.heads[token] in range(*phrase):
                heads[token] = caption.heads[token]
    for end, opposite in other.items():
        is_root = caption.heads[opposite] == opposite
        heads[end] = end if is_root else other.get(caption.heads[opposite], caption.heads[opposite])
        deprels[end] = caption.deprels[opposite]
    return heads, deprels


def _moved_span(span: CaptionSpan, place: dict[int, int]) -> CaptionSpan:
    """The span where its words are now.

    Raises:
        ValueError: they are no longer side by side.
    """
    if span.start < 0:
        return span
    places = [place[token] for token in range(span.start, span.end)]
    start, end = min(places), max(places) + 1
    if end - start != len(places):
        raise ValueError(f"expected a span that stays whole, got {span}")
    return CaptionSpan(start, end, span.string)


def _exchanged_triple(
    triple: CaptionTriple, subject: int, object_: int, place: dict[int, int]
) -> CaptionTriple:
    """The triple with its words moved; a relation also with the two objects exchanged."""
    predicate = _moved_span(triple.predicate, place)
    if triple.attribute is not None:
        attribute = _moved_span(triple.attribute, place)
        return replace(triple, predicate=predicate, attribute=attribute)
    other = {subject: object_, object_: subject}
    return replace(
        triple,
        predicate=predicate,
        subject=other.get(triple.subject, triple.subject),
        object=other.get(triple.object, triple.object),
    )


def phrase_of(caption: ParsedCaption, span: CaptionSpan, predicate: CaptionSpan) -> Phrase:
    """Start and end of a span with the dependents before it, as long as they are contiguous.

    In Universal Dependencies a preposition depends on the noun after it; it is no part of it here.
    """
    head = span_head(span, caption.heads)
    start = span.start
    while (
        start > 0
        and _depends(start - 1, head, caption.heads)
        and caption.pos[start - 1] not in JOINING
        and not predicate.start <= start - 1 < predicate.end
    ):
        start -= 1
    return start, span.end


def _depends(token: int, head: int, heads: tuple[int, ...]) -> bool:
    for _ in heads:  # no longer than the caption, whatever the arcs are
        if heads[token] in (head, token):
            return heads[token] == head
        token = heads[token]
    return False
