"""Remove what a caption denies: `a man with no shirt`, `not wearing a helmet`."""

from collections.abc import Sequence

from pipeline.parsing.scene_graph.decode import Graph, Node, Relation

_NO_THING = frozenset(("no", "without", "minus", "lacking"))
_NOBODY = frozenset(("nobody", "nothing", "none", "nowhere"))
_NOT = frozenset(("not", "n't", "n’t", "never", "nt"))
_DENYING = _NO_THING | _NOBODY | _NOT
_OR = frozenset(("or", "nor"))
_SIGNS = frozenset(("sign", "signs", "symbol", "zone"))
_BETWEEN = frozenset(("a", "an", "any", "the", "his", "her", "their", "its", "being", "yet"))
_FURTHEST = 3
"""Words that may stand between a denying word and what it denies."""


def without_denied(words: Sequence[str], graph: Graph) -> tuple[Graph, bool]:
    """The graph without things, attributes and relations that the caption denies.

    Args:
        words: the caption's tokens in lower case.
        graph: what was read of it.

    Returns:
        What is left, and whether the caption denies anything; `a no parking sign` does not.
    """
    named = {i for node in graph.nodes if _is_on_sign(words, node) for i in range(*node[:2])}
    if not any(word in _DENYING and i not in named for i, word in enumerate(words)):
        return graph, False
    attributes = {i for node in graph.nodes if node.is_attribute for i in range(*node[:2])}
    skipped = {i for i, word in enumerate(words) if word in _BETWEEN} | attributes
    denied = _denied_nodes(words, graph, skipped)
    relations = [r for r in graph.relations if not _is_undone(words, r, skipped)]
    kept = [i for i in range(len(graph.nodes)) if i not in denied]
    place = {i: rank for rank, i in enumerate(kept)}
    said = Graph(
        tuple(graph.nodes[i] for i in place),
        tuple(
            relation._replace(subject=place[relation.subject], object=place[relation.object])
            for relation in relations
            if relation.subject in place and relation.object in place
        ),
        tuple((place[s], place[a]) for s, a in graph.attributes if s in place and a in place),
    )
    return said, True


def _denied_nodes(words: Sequence[str], graph: Graph, skipped: set[int]) -> set[int]:
    """Nodes that are not there; `or` goes on with what was denied before it."""
    denied: set[int] = set()
    ends_denied = -1
    for i in sorted(range(len(graph.nodes)), key=lambda i: graph.nodes[i].start):
        node = graph.nodes[i]
        goes_on = node.start - 1 == ends_denied and words[ends_denied] in _OR
        if goes_on or _is_denied(words, node, skipped):
            denied.add(i)
            ends_denied = node.end
    return denied


def _is_undone(words: Sequence[str], relation: Relation, skipped: set[int]) -> bool:
    return relation.token > 0 and _stands_before(words, relation.token, skipped, _NOT | {"without"})


def _is_denied(words: Sequence[str], node: Node, skipped: set[int]) -> bool:
    if not _DENYING.isdisjoint(words[node.start : node.end]):
        return not _is_on_sign(words, node)
    denying = _DENYING if node.is_attribute else _NO_THING
    return _stands_before(words, node.start, skipped, denying)


def _is_on_sign(words: Sequence[str], node: Node) -> bool:
    """Whether the node is what a sign says, as in `a no parking sign`."""
    return not _SIGNS.isdisjoint(words[node.end - 1 : node.end + 1])


def _stands_before(
    words: Sequence[str], token: int, skipped: set[int], denying: frozenset[str]
) -> bool:
    """Whether one of the words stands before a token, with only skipped ones between."""
    for i in range(token - 1, max(-1, token - 2 - _FURTHEST), -1):
        if words[i] in denying:
            return True
        if i not in skipped:
            return False
    return False
