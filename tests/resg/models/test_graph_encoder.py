"""Graph layers: what they are at the start, and which edges they attend along."""

import pytest
import torch

from resg.config import GraphEncoderSettings
from resg.graphs.batch import GraphBatch
from resg.graphs.ragged import Layout, offsets
from resg.graphs.visual import Edges
from resg.models.graph_encoder import GraphEncoder, mean_types, type_counts

SELF_TYPE, NUM_TYPES, WIDTH = 3, 4, 8
# node 3 has no edge; the last two types of an edge are padding
PAIRS = [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 2)]  # source, target, sorted by target
TYPES = [[3, 0], [1, 2], [2, 0], [1, 0], [3, 0], [3, 0]]


def edges():
    graph = GraphBatch.from_edges(num_nodes=[4], edges=PAIRS)
    return Edges(graph, torch.tensor(TYPES))


def encoder(**changes):
    torch.manual_seed(0)
    settings = GraphEncoderSettings(heads=2, **changes)
    return GraphEncoder(WIDTH, NUM_TYPES, SELF_TYPE, 0, settings)


def open_gates(module):
    for name, weight in module.named_parameters():
        if name.endswith((".gate", "order.scale")):
            torch.nn.init.ones_(weight)
    return module


LAYOUT = Layout.of(offsets(torch.tensor([4])))
NODES = torch.randn(4, WIDTH, generator=torch.Generator().manual_seed(1))


def test_at_the_start_every_node_is_itself():
    assert torch.equal(encoder().train()(NODES, edges(), LAYOUT), NODES)


@pytest.mark.parametrize("changes", [{}, {"type_values": False}, {"content": False}])
def test_gates_open_by_their_gradients(changes):
    module = encoder(dropout=0, edge_dropout=0, **changes)
    (module(NODES, edges(), LAYOUT) * NODES.roll(1, 0)).sum().backward()
    gates = [w.grad for n, w in module.named_parameters() if n.endswith((".gate", "order.scale"))]
    assert len(gates) == 3
    assert all(gradient.abs().min() > 0 for gradient in gates)


def test_a_node_without_edges_keeps_itself_whatever_the_gates_are():
    module = open_gates(encoder(contextual_order=False)).eval()
    out = module(NODES, edges(), LAYOUT)
    assert torch.equal(out[3], NODES[3])
    assert (out[:3] - NODES[:3]).abs().sum(1).min() > 0


def test_mean_types_as_counted_by_hand():
    counts = type_counts(torch.tensor(TYPES), NUM_TYPES)
    third = 1 / 3
    expected = [[0, third, 2 * third, third], [0, 0.5, 0, 0.5], [0, 0, 0, 1], [0, 0, 0, 0]]
    torch.testing.assert_close(mean_types(edges(), counts), torch.tensor(expected))


def test_dropped_edges_are_never_a_nodes_own_nor_padding_and_none_in_evaluation():
    module = encoder(edge_dropout=0.5)
    given = Edges(edges().graph, torch.tensor([*TYPES[:2], [0, 0], *TYPES[3:]]))
    counts = type_counts(given.types, NUM_TYPES)
    is_open = torch.stack([module._open_edges(given, counts) for _ in range(400)])
    shares = is_open.float().mean(0)
    assert shares[[0, 2, 4, 5]].tolist() == [1, 1, 1, 1]
    assert ((shares[[1, 3]] - 0.5).abs() < 0.1).all()
    assert module.eval()._open_edges(given, counts) is None


def test_a_dropped_edge_is_as_one_that_is_not_there():
    module = open_gates(encoder(dropout=0, edge_dropout=0.1)).eval()
    whole = edges()
    is_open = torch.tensor([True, False, True, True, True, True])
    masked = module(NODES, Edges(whole.graph, whole.types, None, is_open), LAYOUT)
    left = [k for k in range(len(PAIRS)) if is_open[k]]
    graph = GraphBatch.from_edges(num_nodes=[4], edges=[PAIRS[k] for k in left])
    without = module(NODES, Edges(graph, whole.types[left]), LAYOUT)
    torch.testing.assert_close(masked, without)
