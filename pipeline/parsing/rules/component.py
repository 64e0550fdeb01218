"""`relation_triples`: the spaCy component that reads relation triples off dependency arcs."""

from dataclasses import replace
from itertools import pairwise

from spacy.language import Language
from spacy.tokens import Doc

from pipeline.parsing.doc_triples import NO_WORD, set_triples
from pipeline.parsing.rules.relations import read_graph
from pipeline.parsing.rules.schemes import caption_tree
from pipeline.parsing.sentences import sentence_starts
from pipeline.shards.records import CaptionSpan, CaptionTriple


class RelationTriples:
    """Sets `doc._.objects`, `doc._.triples` and `doc._.negated` by rules over the parser's arcs.

    Args:
        keep_negated: keep what the caption denies (`no leaves`, `not wearing a hat`); the rule of
            such a triple begins with `not:`.
    """

    def __init__(self, keep_negated: bool = False) -> None:
        self.keep_negated = keep_negated

    def __call__(self, doc: Doc) -> Doc:
        """Read one caption.

        Raises:
            DataError: the pipeline set no dependency arcs.
        """
        objects: list[CaptionSpan] = []
        triples: list[CaptionTriple] = []
        is_denying = False
        for start, end in pairwise([*sentence_starts(doc), len(doc)]):
            graph = read_graph(caption_tree(doc, start, end))
            is_denying = is_denying or graph.is_denying
            said = (graph.objects, graph.triples) if self.keep_negated else graph.said()
            triples += [_moved_triple(triple, start, len(objects)) for triple in said[1]]
            objects += [_moved(span, start) for span in said[0]]
        set_triples(doc, objects, triples, negated=is_denying)
        return doc


def _moved(span: CaptionSpan, start: int) -> CaptionSpan:
    """A span of a sentence as one of the caption, whose sentence begins at `start`."""
    if (span.start, span.end) == NO_WORD:
        return span
    return replace(span, start=span.start + start, end=span.end + start)


def _moved_triple(triple: CaptionTriple, start: int, num_objects: int) -> CaptionTriple:
    """A triple of a sentence as one of the caption, in which `num_objects` come before."""
    return replace(
        triple,
        subject=triple.subject + num_objects,
        predicate=_moved(triple.predicate, start),
        object=triple.object if triple.attribute else triple.object + num_objects,
        attribute=triple.attribute and _moved(triple.attribute, start),
    )


@Language.factory(
    "relation_triples",
    default_config={"keep_negated": False},
    requires=["token.dep", "token.head", "token.pos", "token.lemma"],
    assigns=["doc._.objects", "doc._.triples", "doc._.negated"],
)
def make_relation_triples(nlp: Language, name: str, keep_negated: bool) -> RelationTriples:
    """The component, for `nlp.add_pipe("relation_triples")`."""
    return RelationTriples(keep_negated)
