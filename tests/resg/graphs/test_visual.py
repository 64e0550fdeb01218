import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resg.config import VisualGraphSettings
from resg.graphs.ragged import Layout
from resg.graphs.visual import (
    ANY,
    COVER,
    FIRST_DIRECTION,
    FIRST_PREDICATE,
    INSIDE,
    NEIGHBOUR,
    OVERLAP,
    SELF,
    nearest_neighbours,
    pair_geometry,
    spatial_classes,
    visual_edges,
)

SIZE = torch.tensor([[100, 100]])
LAYOUT = Layout.of(torch.tensor([0, 2, 5]))


def classes_of(target, source, size=SIZE):
    return spatial_classes(torch.tensor([[target, source]], dtype=torch.float32), size)[0, 0, 1]


@pytest.mark.parametrize(
    ("target", "source", "expected"),
    [
        ((40, 40, 50, 50), (30, 30, 60, 60), INSIDE),
        ((30, 30, 60, 60), (40, 40, 50, 50), COVER),
        ((30, 30, 60, 60), (33, 33, 63, 63), OVERLAP),
        ((0, 0, 10, 10), (85, 85, 95, 95), 0),  # farther apart than half the diagonal
    ],
)
def test_spatial_class_of_two_boxes(target, source, expected):
    assert classes_of(target, source) == expected


@pytest.mark.parametrize("sector", range(8))
def test_direction_is_counted_in_45_degrees_from_the_right_upwards(sector):
    angle = math.radians(45 * sector + 22.5)
    x, y = 50 + 30 * math.cos(angle), 50 - 30 * math.sin(angle)  # up is a smaller y
    source = (x - 2, y - 2, x + 2, y + 2)
    assert classes_of((48, 48, 52, 52), source) == FIRST_DIRECTION + sector


boxes = st.builds(
    lambda x, y, w, h: (x, y, x + w, y + h),
    *(st.integers(0, 70),) * 2,
    *(st.integers(2, 30),) * 2,
)


@given(boxes, boxes)
@settings(deadline=None)
def test_the_two_directions_of_a_pair_are_opposite(first, second):
    there, back = int(classes_of(first, second)), int(classes_of(second, first))
    if there >= FIRST_DIRECTION:
        centres = [((b[0] + b[2]) / 2, (b[1] + b[3]) / 2) for b in (first, second)]
        if centres[0] != centres[1]:
            assert (there - back) % 8 == 4
    elif there == INSIDE and first != second:
        assert back == COVER
    else:
        assert there == back or first == second or {there, back} <= {INSIDE, COVER}


def test_geometry_as_worked_by_hand():
    pair = torch.tensor([[[0.0, 0.0, 20.0, 10.0], [30.0, 30.0, 70.0, 50.0]]])
    geometry = pair_geometry(pair, torch.tensor([[50, 100]]))[0, 0, 1]
    dx, dy = 40.0, 35.0
    expected = [
        dx / 100,
        dy / 50,
        math.log(2),
        math.log(2),
        0.0,
        math.hypot(dx, dy) / math.hypot(100, 50),
    ]
    assert geometry.tolist() == pytest.approx(expected)


def test_neighbours_are_the_nearest_by_cosine_and_never_oneself_or_padding():
    features = torch.tensor([[[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.0, 0.0]]])
    is_region = torch.tensor([[True, True, True, False]])
    is_neighbour = nearest_neighbours(features, is_region, 1)[0, :3]
    assert is_neighbour.nonzero().tolist() == [[0, 1], [1, 0], [2, 1]]
    few = nearest_neighbours(features, is_region, 8)[0, 0]
    assert few.tolist() == [False, True, True, False]


def scene():
    """Two images of 2 and 3 regions."""
    boxes = torch.tensor(
        [
            [10, 10, 20, 20],
            [30, 10, 40, 20],
            [10, 10, 20, 20],
            [10, 40, 20, 50],
            [80, 80, 99, 99],
        ]
    ).float()
    features = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    return features, boxes, torch.tensor([[100, 100], [100, 100]]), LAYOUT


def edge_list(edges):
    """(target, source) of all edges but those of regions to themselves."""
    graph = edges.graph
    places = list(zip(graph.targets.tolist(), graph.indices.tolist(), strict=True))
    return [place for place in places if place[0] != place[1]]


def types_between(edges):
    return edges.types[edges.graph.targets != edges.graph.indices]


def test_edges_stay_in_their_image_and_come_once_sorted_by_target_and_source():
    edges = visual_edges(*scene(), VisualGraphSettings())
    places = edge_list(edges)
    assert places == sorted(set(places))
    assert all((t < 2) == (s < 2) and t != s for t, s in places)


def test_every_region_has_an_edge_to_itself_of_that_type_alone():
    edges = visual_edges(*scene(), VisualGraphSettings())
    is_loop = edges.graph.targets == edges.graph.indices
    assert edges.graph.targets[is_loop].tolist() == [0, 1, 2, 3, 4]
    assert (edges.types[is_loop].amax(1) == SELF).all()
    assert (edges.types[is_loop].sum(1) == SELF).all()


def test_each_kind_of_edge_can_be_turned_off():
    nothing = visual_edges(*scene(), VisualGraphSettings(edges=()))
    assert nothing.graph.num_edges == 0
    assert nothing.types.shape[0] == nothing.geometry.shape[0] == 0
    spatial = visual_edges(*scene(), VisualGraphSettings(edges=("spatial",)))
    assert (2, 4) not in edge_list(spatial)  # too far apart
    assert (types_between(spatial).amax(1) < NEIGHBOUR).all()
    neighbours = visual_edges(*scene(), VisualGraphSettings(edges=("neighbours",)))
    assert (types_between(neighbours) == NEIGHBOUR).all()
    assert len(edge_list(neighbours)) == 2 * 1 + 3 * 2


def test_all_regions_of_an_image_can_be_joined():
    edges = visual_edges(*scene(), VisualGraphSettings(edges=("all",)))
    assert (types_between(edges) == ANY).all()
    assert len(edge_list(edges)) == 2 * 1 + 3 * 2
    typed = visual_edges(*scene(), VisualGraphSettings(edges=("spatial", "all")))
    assert len(edge_list(typed)) == 2 * 1 + 3 * 2
    assert set(types_between(typed)[0].tolist()) == {FIRST_DIRECTION, ANY}


def test_an_edge_of_two_kinds_comes_once_with_both_types():
    edges = visual_edges(*scene(), VisualGraphSettings())
    place = edge_list(edges).index((0, 1))
    assert set(types_between(edges)[place].tolist()) == {FIRST_DIRECTION, NEIGHBOUR}


def test_predicates_join_both_ways_with_a_type_each():
    relations = torch.tensor([[1, 2, 5, 0]])  # image 1: region 2, predicate 5, region 0
    edges = visual_edges(*scene(), VisualGraphSettings(edges=("predicates",)), relations)
    assert edge_list(edges) == [(2, 4), (4, 2)]
    assert types_between(edges).amax(1).tolist() == [FIRST_PREDICATE + 11, FIRST_PREDICATE + 10]


def test_without_boxes_there_are_neighbours_only():
    features, *_ = scene()
    edges = visual_edges(features, None, None, LAYOUT, VisualGraphSettings())
    assert (types_between(edges) == NEIGHBOUR).all()
    assert edges.geometry is None
