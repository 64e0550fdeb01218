import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.parsing.scene_graph.decode import (
    ATTRIBUTE,
    IN_OBJECT,
    MAX_ATTRIBUTE_REACH,
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


def nodes_of(*captions):
    """The nodes of captions' tags; tokens are counted over all captions."""
    firsts = np.cumsum([0, *[len(tags) for tags in captions[:-1]]])
    spans = nodes_of_tags(np.concatenate(captions), firsts)
    return [Node(*node) for node in zip(*(column.tolist() for column in spans), strict=True)]


@given(node_lists())
def test_tags_give_nodes_back(nodes_and_length):
    nodes, length = nodes_and_length
    assume(length)
    assert nodes_of(tags_of_nodes(nodes, length)) == nodes


@given(st.lists(st.integers(0, 4), min_size=1, max_size=12))
def test_any_tags_give_nodes_that_do_not_overlap(tags):
    covered = [i for node in nodes_of(tags) for i in range(node.start, node.end)]
    assert covered == [i for i, tag in enumerate(tags) if tag != OUTSIDE]


def test_tag_that_continues_nothing_begins_a_node():
    assert nodes_of([IN_OBJECT, OUTSIDE, ATTRIBUTE, IN_OBJECT]) == [
        Node(0, 1, False),
        Node(2, 3, True),
        Node(3, 4, False),
    ]


def test_no_node_goes_on_in_the_next_caption():
    assert nodes_of([OBJECT, IN_OBJECT], [IN_OBJECT, OBJECT]) == [
        Node(0, 2, False),
        Node(2, 3, False),
        Node(3, 4, False),
    ]


def pairs_of(captions, is_attribute):
    pairs = candidate_pairs(np.array(captions), np.array(is_attribute, bool))
    return [tuple(pair) for pair in pairs.tolist()]


def test_only_objects_are_subjects():
    pairs = [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]
    assert pairs_of([0, 0, 0], [True, False, False]) == pairs


def test_nodes_of_two_captions_are_no_pair():
    assert pairs_of([0, 2, 2], [False, False, True]) == [(0, 0), (1, 1), (1, 2)]


def test_captions_without_nodes_have_no_pairs():
    assert pairs_of([], []) == []


def test_far_nodes_are_no_pair_and_attributes_sooner():
    far, further = MAX_ATTRIBUTE_REACH + 1, MAX_REACH + 1
    is_attribute = [False] + [True] * further
    reached = {j for i, j in pairs_of([0] * (further + 1), is_attribute) if i == 0}
    assert reached == set(range(far))
    reached = {j for i, j in pairs_of([0] * (further + 1), [False] * (further + 1)) if i == 0}
    assert reached == set(range(further))


def test_attribute_alone_gets_its_likeliest_object():
    pairs = [(1, 0), (1, 2), (2, 0)]
    assert chosen_pairs(pairs, [0.02, 0.9, 0.01], [True, False, False]) == [0, 1]


def test_object_alone_is_rescued_only_by_a_likely_pair():
    pairs = [(0, 1), (0, 2), (2, 1)]
    assert chosen_pairs(pairs, [0.9, 0.3, 0.2], [False] * 3) == [0, 1]
    assert chosen_pairs(pairs, [0.9, 0.03, 0.02], [False] * 3) == [0]
