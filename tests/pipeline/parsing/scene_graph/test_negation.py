"""What captions deny is left out of what was read of them."""

import pytest

from pipeline.parsing.scene_graph.decode import Graph, Node, Relation
from pipeline.parsing.scene_graph.negation import without_denied


def said(caption, nodes, relations=(), attributes=None):
    """Words of the nodes, relations and attributes that are left, and whether any was denied."""
    words, attributes = caption.split(), attributes or {}
    graph = Graph(
        tuple(Node(words.index(word), words.index(word) + 1, word in attributes) for word in nodes),
        tuple(
            Relation(nodes.index(s), nodes.index(o), p, "", words.index(p) if p in words else -1)
            for s, p, o in relations
        ),
        tuple((nodes.index(o), nodes.index(a)) for a, o in attributes.items()),
    )
    left, is_denying = without_denied(words, graph)
    names = [words[node.start] for node in left.nodes]
    triples = {(names[r.subject], r.head, names[r.object]) for r in left.relations}
    triples |= {(names[o], "is", names[a]) for o, a in left.attributes}
    return names, triples, is_denying


@pytest.mark.parametrize("denying", ["with no", "without", "without a", "without any"])
def test_thing_that_is_not_there_goes(denying):
    caption = f"man {denying} shirt on bench"
    relations = [("man", "have", "shirt"), ("man", "on", "bench")]
    names, triples, is_denying = said(caption, ["man", "shirt", "bench"], relations)
    assert names == ["man", "bench"]
    assert triples == {("man", "on", "bench")}
    assert is_denying


def test_thing_goes_with_its_attributes():
    nodes, attributes = ["dog", "red", "collar"], {"red": "collar"}
    relations = [("dog", "wear", "collar")]
    names, triples, _ = said("dog without a red collar", nodes, relations, attributes)
    assert "collar" not in names
    assert triples == set()


@pytest.mark.parametrize("denying", ["is not", "is n't", "never"])
def test_what_does_not_happen_goes_and_its_things_stay(denying):
    caption, relations = f"man {denying} wearing helmet", [("man", "wearing", "helmet")]
    assert said(caption, ["man", "helmet"], relations) == (["man", "helmet"], set(), True)


def test_attribute_that_is_denied_goes():
    found = said("man is not happy", ["man", "happy"], attributes={"happy": "man"})
    assert found == (["man"], set(), True)


def test_only_what_follows_is_denied():
    caption = "man wearing hat not looking up"
    relations = [("man", "wearing", "hat")]
    assert said(caption, ["man", "hat"], relations)[1] == {("man", "wearing", "hat")}


def test_name_with_a_denying_word_denies_nothing():
    graph = Graph((Node(1, 3, True), Node(3, 4, False)), (), ((1, 0),))
    assert without_denied(["a", "no", "parking", "sign"], graph) == (graph, False)
