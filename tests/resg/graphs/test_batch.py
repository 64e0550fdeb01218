import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resg.graphs.batch import GraphBatch

ARRAYS = (
    "node_ptr",
    "indptr",
    "indices",
    "reverse_indptr",
    "reverse_indices",
    "reverse_edges",
    "masks",
)


def assert_equal(graph, other):
    assert graph.max_nodes == other.max_nodes
    for name in ARRAYS:
        first, second = getattr(graph, name), getattr(other, name)
        assert (first is None) == (second is None), name
        assert first is None or torch.equal(first, second), name


@st.composite
def parts(draw):
    """A list of (number of nodes, unique edges in the graph's own numbering)."""
    graphs = []
    for num_nodes in draw(st.lists(st.integers(0, 6), min_size=1, max_size=5)):
        pairs = [(s, t) for s in range(num_nodes) for t in range(num_nodes)]
        graphs.append(
            (num_nodes, draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else [])
        )
    return graphs


def shifted(graphs):
    edges, start = [], 0
    for num_nodes, own in graphs:
        edges += [(source + start, target + start) for source, target in own]
        start += num_nodes
    return edges


@pytest.mark.parametrize(("num_graphs", "num_nodes"), [(1, 1), (3, 4), (2, 36), (1, 64), (1, 65)])
def test_a_complete_graph_has_all_pairs(num_graphs, num_nodes):
    starts = range(0, num_graphs * num_nodes, num_nodes)
    pairs = [(s + a, s + b) for s in starts for a in range(num_nodes) for b in range(num_nodes)]
    built = GraphBatch.from_edges([num_nodes] * num_graphs, pairs)
    assert_equal(GraphBatch.complete(num_graphs, num_nodes, torch.device("cpu")), built)


@settings(max_examples=60, deadline=None)
@given(parts(), st.randoms())
def test_edges_come_out_as_they_went_in_sorted_by_target_then_source(graphs, random):
    edges = shifted(graphs)
    random.shuffle(edges)
    graph = GraphBatch.from_edges([n for n, _ in graphs], edges)
    found = list(zip(graph.targets.tolist(), graph.indices.tolist(), strict=True))
    assert found == sorted((target, source) for source, target in edges)
    if edges:  # the order that the module's first lines name for attributes
        ordered = np.array(edges)[np.lexsort(np.array(edges).T)].tolist()
        assert found == [(target, source) for source, target in ordered]


@settings(max_examples=60, deadline=None)
@given(parts())
def test_the_reverse_lists_the_same_edges_by_source(graphs):
    graph = GraphBatch.from_edges([n for n, _ in graphs], shifted(graphs))
    sources = torch.arange(graph.num_nodes).repeat_interleave(graph.reverse_indptr.diff())
    assert torch.equal(graph.indices[graph.reverse_edges], sources)
    assert torch.equal(graph.targets[graph.reverse_edges], graph.reverse_indices)


@settings(max_examples=60, deadline=None)
@given(parts())
def test_a_mask_has_the_bits_of_the_neighbours(graphs):
    graph = GraphBatch.from_edges([n for n, _ in graphs], shifted(graphs))
    expected = [0] * graph.num_nodes
    start = 0
    for num_nodes, own in graphs:
        for source, target in own:
            expected[start + target] |= 1 << source
        start += num_nodes
    assert graph.masks is not None
    assert [mask & (2**64 - 1) for mask in graph.masks.tolist()] == expected


def test_the_mask_uses_its_sign_bit_and_ends_at_64_nodes():
    edges = [(source, 0) for source in range(64)]
    masks = GraphBatch.from_edges([64], edges).masks
    assert masks is not None
    assert masks[0] == -1
    assert GraphBatch.from_edges([65], edges).masks is None
    assert GraphBatch.from_edges([2, 65], [(0, 1)]).masks is None


def test_pointers_skip_isolated_nodes_and_empty_graphs():
    graph = GraphBatch.from_edges(num_nodes=[0, 3, 0], edges=[(0, 2), (1, 2)])
    assert graph.node_ptr.tolist() == [0, 0, 3, 3]
    assert graph.indptr.tolist() == [0, 0, 0, 2]
    assert graph.owners.tolist() == [1, 1, 1]
    assert (graph.num_graphs, graph.num_nodes, graph.num_edges) == (3, 3, 2)


def test_arrays_and_tensors_build_the_same_batch():
    edges = np.array([(0, 1), (1, 0)], np.int32)
    assert_equal(
        GraphBatch.from_edges(np.array([2]), edges),
        GraphBatch.from_edges(torch.tensor([2]), torch.from_numpy(edges)),
    )


@pytest.mark.parametrize(
    ("num_nodes", "edges", "message"),
    [
        ([2], [(0, 2)], "points outside the batch, which has 2 nodes"),
        ([2], [(-1, 0)], "points outside"),
        ([2, 2], [(0, 2)], "joins two graphs"),
        ([3], [(0, 1), (2, 1), (0, 1)], r"\(0, 1\) comes twice"),
        ([2], [(0.0, 1.0)], "integers"),
        ([-1], [], "negative"),
    ],
)
def test_wrong_edges_are_refused(num_nodes, edges, message):
    with pytest.raises(ValueError, match=message):
        GraphBatch.from_edges(num_nodes, edges)


@pytest.mark.parametrize(
    ("indptr", "indices", "message"),
    [
        ([0, 2, 2], [1, 0], r"edge \(0, 0\) is out of order"),
        ([0, 2, 2], [1, 1], "comes twice"),
        ([0, 1, 2], [0, 5], "points outside"),
        ([0, 1], [0], r"indptr has the shape \(2,\), expected \(3,\)"),
        ([0, 2, 1], [0], "never fall"),
        ([0, 1, 2], [0], r"ends at 2, but indices has the shape \(1,\)"),
    ],
)
def test_a_wrong_csr_is_refused(indptr, indices, message):
    with pytest.raises(ValueError, match=message):
        GraphBatch.from_csr([0, 2], indptr, indices)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_moved_batch_keeps_its_contents():
    graph = GraphBatch.from_edges([3, 2], [(0, 1), (4, 3)])
    moved = graph.to("cuda")
    assert moved.device.type == "cuda"
    assert_equal(moved.to("cpu"), graph)
