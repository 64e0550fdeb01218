"""Triples of records as strings, without spaCy."""

from collections.abc import Sequence

from pipeline.shards.records import CaptionSpan, CaptionTriple


def strings_of(
    objects: Sequence[CaptionSpan], triples: Sequence[CaptionTriple]
) -> list[tuple[str, ...]]:
    """Each triple as `(s, r, o)` and each object in none of them as `(s,)`."""
    tuples: list[tuple[str, ...]] = []
    related = set()
    for triple in triples:
        related |= {triple.subject, triple.object}
        tuples.append(triple_strings(triple, objects))
    tuples += [(span.string,) for i, span in enumerate(objects) if i not in related]
    return tuples


def triple_strings(triple: CaptionTriple, objects: Sequence[CaptionSpan]) -> tuple[str, str, str]:
    """Subject, predicate, and object or attribute of one triple."""
    last = triple.attribute or objects[triple.object]
    return objects[triple.subject].string, triple.predicate.string, last.string
