"""What someone has is found behind `'s`, also where the network missed it."""

from parsed_captions import make_doc

from pipeline.parsing.scene_graph.decode import Graph, Node, Relation
from pipeline.parsing.scene_graph.possession import with_possessions

DOC = make_doc(
    "dog/NOUN/ROOT/0 biting/VERB/acl/0 man/NOUN/nmod:poss/4 's/PART/case/2 rear/ADJ/obj/1"
)
BITE = Relation(0, 1, "bite", "", 1)


def read(doc, graph):
    return with_possessions(doc, [token.lower_ for token in doc], graph)


def test_missed_thing_is_what_is_done_something_to():
    graph = read(DOC, Graph((Node(0, 1, False), Node(2, 3, False)), (BITE,), ()))
    assert graph.nodes[2] == Node(4, 5, False)
    assert graph.relations == (Relation(0, 2, "bite", "", 1), Relation(1, 2, "have", "", -1))


def test_what_the_network_found_stays():
    nodes = (Node(0, 1, False), Node(2, 3, False), Node(4, 5, False))
    graph = Graph(nodes, (Relation(0, 2, "bite", "", 1),), ())
    assert read(DOC, graph) == graph


def test_quantities_and_verbs_are_no_things():
    pair = make_doc(
        "man/NOUN/nmod:poss/2 's/PART/case/0 pair/NOUN/ROOT/2 of/ADP/case/4 shoes/NOUN/nmod/2"
    )
    verb = make_doc("man/NOUN/nsubj/2 's/AUX/aux/2 riding/VERB/ROOT/2")
    for doc in (pair, verb):
        graph = Graph((Node(0, 1, False),), (), ())
        assert read(doc, graph) == graph
