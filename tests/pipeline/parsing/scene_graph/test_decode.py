from hypothesis import given
from hypothesis import strategies as st

from pipeline.parsing.scene_graph.decode import (
    ATTRIBUTE,
    IN_OBJECT,
    MAX_REACH,
    OBJECT,
    OUTSIDE,
    Node,
    candidate_pairs,
    chosen_pairs,
    nodes_of_tags,
    tags_of_nodes,
)


@st.composite
def node_lists(draw):
    nodes, place = [], 0
    for _ in range(draw(st.integers(0, 5))):
        start = place + draw(st.integers(0, 2))
        place = start + draw(st.integers(1, 3))
        nodes.append(Node(start, place, draw(st.booleans())))
    return nodes, place + draw(st.integers(0, 2))


@given(node_lists())
def test_tags_give_nodes_back(nodes_and_length):
    nodes, length = nodes_and_length
    assert nodes_of_tags(tags_of_nodes(nodes, length)) == nodes


@given(st.lists(st.integers(0, 4), max_size=12))
def test_any_tags_give_nodes_that_do_not_overlap(tags):
    nodes = nodes_of_tags(tags)
    covered = [i for node in nodes for i in range(node.start, node.end)]
    assert covered == [i for i, tag in enumerate(tags) if tag != OUTSIDE]


def test_tag_that_continues_nothing_begins_a_node():
    assert nodes_of_tags([IN_OBJECT, OUTSIDE, ATTRIBUTE, IN_OBJECT]) == [
        Node(0, 1, False),
        Node(2, 3, True),
        Node(3, 4, False),
    ]


def test_only_objects_are_subjects():
    nodes = nodes_of_tags([ATTRIBUTE, OBJECT, OBJECT])
    assert candidate_pairs(nodes) == [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]


def test_number_of_pairs_grows_with_length_only():
    nodes = [Node(i, i + 1, False) for i in range(400)]
    assert len(candidate_pairs(nodes)) <= 400 * (2 * MAX_REACH + 1)


def test_attribute_alone_gets_its_likeliest_object():
    nodes = nodes_of_tags([ATTRIBUTE, OBJECT, OBJECT])
    pairs = [(1, 0), (1, 2), (2, 0)]
    assert chosen_pairs(nodes, pairs, [0.02, 0.9, 0.01]) == [0, 1]


def test_object_alone_is_rescued_only_by_a_likely_pair():
    nodes = nodes_of_tags([OBJECT, OBJECT, OBJECT])
    pairs = [(0, 1), (0, 2), (2, 1)]
    assert chosen_pairs(nodes, pairs, [0.9, 0.3, 0.2]) == [0, 1]
    assert chosen_pairs(nodes, pairs, [0.9, 0.03, 0.02]) == [0]
