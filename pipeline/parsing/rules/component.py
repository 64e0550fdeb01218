"""`relation_triples`: the spaCy component that reads relation triples off dependency arcs."""

from spacy.language import Language
from spacy.tokens import Doc

from pipeline.parsing.doc_triples import set_triples
from pipeline.parsing.rules.relations import read_graph
from pipeline.parsing.rules.schemes import caption_tree

RULES_VERSION = 2
"""Raised when the program makes other triples of the same model's arcs, by these rules or in
`scene_graph`, so that shards of different rules are not mixed."""


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
        graph = read_graph(caption_tree(doc))
        if self.keep_negated or not graph.is_denying:
            objects, triples = graph.objects, graph.triples
        else:
            objects, triples = graph.said()
        set_triples(doc, objects, triples, negated=graph.is_denying)
        return doc


@Language.factory(
    "relation_triples",
    default_config={"keep_negated": False},
    requires=["token.dep", "token.head", "token.pos", "token.lemma"],
    assigns=["doc._.objects", "doc._.triples", "doc._.negated"],
)
def make_relation_triples(nlp: Language, name: str, keep_negated: bool) -> RelationTriples:
    """The component, for `nlp.add_pipe("relation_triples")`."""
    return RelationTriples(keep_negated)
