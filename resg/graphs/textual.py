"""Edges between the words of a caption: dependency arcs and relation triples, typed.

An edge (source, target) lets the target attend the source. An inverse type ends in `~`.
"""

from collections import defaultdict
from collections.abc import Iterator

from pipeline.shards.records import CaptionSpan, ParsedCaption

EdgeNames = dict[tuple[int, int], list[str]]
"""(target, source) to the names of the edge's types, in order of first appearance."""


def textual_edges(
    caption: ParsedCaption, kinds: tuple[str, ...] = ("arcs", "triples")
) -> EdgeNames:
    """Edges of one caption, sorted by (target, source), each with its set of types.

    Arcs give `arc:LABEL` from head to dependent and its inverse. A triple joins its predicate's
    word with those of its subject and object; one whose predicate has no word joins subject and
    object, typed by the predicate's string; an attribute joins its object (*reconstruction*). A
    span is represented by its syntactic head. Where any kind is asked for, every word also has an
    edge `self` to itself, against which attention weighs the others (see `visual_edges`).

    Args:
        caption: tokens, arcs and triples.
        kinds: `arcs`, `triples`, both, or none.
    """
    edges: defaultdict[tuple[int, int], list[str]] = defaultdict(list)
    pairs = []
    if kinds:
        edges |= {(token, token): ["self"] for token in range(len(caption.forms))}
    if "arcs" in kinds:
        pairs += list(_arcs(caption))
    if "triples" in kinds:
        pairs += list(_triples(caption))
    for source, target, name in pairs:
        if source != target:
            for place, typed in (((target, source), name), ((source, target), f"{name}~")):
                if typed not in edges[place]:
                    edges[place].append(typed)
    return dict(sorted(edges.items()))


def span_head(span: CaptionSpan, heads: tuple[int, ...]) -> int:
    """The token of a span whose own head stands outside it; the last of several."""
    inside = range(span.start, span.end)
    outward = [i for i in inside if heads[i] not in inside or heads[i] == i]
    return outward[-1] if outward else span.end - 1


def _arcs(caption: ParsedCaption) -> Iterator[tuple[int, int, str]]:
    for token, (head, label) in enumerate(zip(caption.heads, caption.deprels, strict=True)):
        yield head, token, f"arc:{label}"


def _triples(caption: ParsedCaption) -> Iterator[tuple[int, int, str]]:
    """(source, target, name) of every triple."""
    head_of_object = [span_head(span, caption.heads) for span in caption.objects]
    for triple in caption.triples:
        subject = head_of_object[triple.subject]
        if triple.attribute is not None:
            if triple.attribute.start >= 0:
                yield span_head(triple.attribute, caption.heads), subject, "attribute"
            continue
        target = head_of_object[triple.object]
        if triple.predicate.start < 0:
            yield target, subject, f"predicate:{triple.predicate.string}"
        else:
            predicate = span_head(triple.predicate, caption.heads)
            yield predicate, subject, "subject"
            yield predicate, target, "object"
