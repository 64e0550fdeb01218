"""Things that someone has and the network missed: the rear of `a dog biting a man's rear`."""

from collections.abc import Sequence

from spacy.tokens import Doc

from pipeline.parsing.scene_graph.decode import Graph, Node, Relation

_MARKS = frozenset(("'s", "’s", "'"))
_NOUNS = ("NOUN", "PROPN")
_PARTS = frozenset(("pair", "set", "group", "bunch", "side", "end"))
"""Words that say how much, or where, of a thing; FACTUAL's gold has none of them."""


def with_possessions(doc: Doc, words: Sequence[str], graph: Graph) -> Graph:
    """The graph with a noun behind `'s` that no node has; what is done to its owner is done to it.

    Args:
        doc: the caption.
        words: its tokens in lower case.
        graph: what was read of it.
    """
    if _MARKS.isdisjoint(words):
        return graph
    covered = {i for node in graph.nodes for i in range(node.start, node.end)}
    for mark, word in enumerate(words[:-1]):
        thing = mark + 1
        if word in _MARKS and thing not in covered and _is_thing(doc, thing):
            owner = next((n for n in graph.nodes if n.end == mark and not n.is_attribute), None)
            if owner is not None:
                graph = _with(graph, owner, Node(thing, thing + 1, False))
    return graph


def _is_thing(doc: Doc, token: int) -> bool:
    """Whether a word behind `'s` names what is had; with no noun behind it, an adjective does."""
    word = doc[token]
    if word.lower_ in _PARTS:
        return False
    ends = token + 1 == len(doc) or doc[token + 1].pos_ not in (*_NOUNS, "ADJ")
    return word.pos_ in _NOUNS or (word.pos_ == "ADJ" and ends)


def _with(graph: Graph, owner: Node, thing: Node) -> Graph:
    nodes = tuple(sorted((*graph.nodes, thing)))
    place = {i: nodes.index(node) for i, node in enumerate(graph.nodes)}
    mine, new = nodes.index(owner), nodes.index(thing)
    relations = []
    for relation in graph.relations:
        s, o = place[relation.subject], place[relation.object]
        relations.append(relation._replace(subject=s, object=new if o == mine != s else o))
    return Graph(
        nodes,
        (*relations, Relation(mine, new, "have", "", -1)),
        tuple((place[s], place[a]) for s, a in graph.attributes),
    )
