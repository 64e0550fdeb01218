import pytest
import torch

from resg.graphs.ragged import Layout
from resg.models.pooling import GeneralisedPooling, LastPooling, MeanPooling

LAYOUT = Layout.of(torch.tensor([0, 3, 3, 5]))
NODES = torch.tensor([[1.0, 5.0], [2.0, 4.0], [6.0, 0.0], [1.0, 1.0], [3.0, -1.0]])


def test_mean_of_each_graph_and_zero_of_an_empty_one():
    assert MeanPooling()(NODES, LAYOUT).tolist() == [[3.0, 3.0], [0.0, 0.0], [2.0, 0.0]]


def test_last_node_of_each_graph():
    assert LastPooling()(NODES, Layout.of(torch.tensor([0, 3, 5]))).tolist() == [
        [6.0, 0.0],
        [3.0, -1.0],
    ]


def test_generalised_pooling_weighs_the_sorted_values():
    torch.manual_seed(0)
    pooling = GeneralisedPooling()
    weights = pooling.position_weights(LAYOUT)
    assert weights.sum(1).tolist() == pytest.approx([1, 0, 1])
    assert weights[2, 2] == 0  # beyond the graph's two nodes
    expected = [
        weights[0] @ torch.tensor([[6.0, 5.0], [2.0, 4.0], [1.0, 0.0]]),
        torch.zeros(2),
        weights[2, :2] @ torch.tensor([[3.0, 1.0], [1.0, -1.0]]),
    ]
    assert torch.allclose(pooling(NODES, LAYOUT), torch.stack(expected))


def test_generalised_pooling_ignores_the_order_of_nodes_and_the_rest_of_the_batch():
    torch.manual_seed(0)
    pooling = GeneralisedPooling()
    nodes, more = torch.randn(4, 8), torch.randn(9, 8)
    alone = pooling(nodes, Layout.of(torch.tensor([0, 4])))
    shuffled = pooling(nodes[[2, 0, 3, 1]], Layout.of(torch.tensor([0, 4])))
    beside = pooling(torch.cat([nodes, more]), Layout.of(torch.tensor([0, 4, 13])))[:1]
    assert torch.allclose(alone, shuffled, atol=1e-6)
    assert torch.allclose(alone, beside, atol=1e-6)


def test_generalised_pooling_can_become_maximum_and_mean():
    pooling = GeneralisedPooling()
    with torch.no_grad():
        pooling.weight.weight.zero_()
    assert torch.allclose(pooling(NODES, LAYOUT)[0], torch.tensor([3.0, 3.0]))
    # a weight that falls with the place gives the maximum
    pooling.position_weights = lambda layout: torch.eye(3)[[0, 0, 0]]
    assert pooling(NODES, LAYOUT)[0].tolist() == [6.0, 5.0]
