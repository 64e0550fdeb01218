import pytest
import torch

from resg.graphs.ragged import Layout, offsets
from resg.models.pooling import GeneralisedPooling, LastPooling, MeanPooling
from resg.transfer import to_device

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


def test_weights_are_those_of_a_gru_over_each_length_alone():
    torch.manual_seed(0)
    pooling = GeneralisedPooling()
    counts = [4, 1, 0, 7, 4, 2]
    layout = Layout.of(offsets(torch.tensor(counts)))
    weights = pooling.position_weights(layout)
    assert weights.shape == (6, 7)
    expected = torch.zeros(6, 7)
    for row, count in enumerate(counts):
        if count:
            states, _ = pooling.positions(sinusoidal_codes(count, 32)[None])
            both = states[0].unflatten(-1, (2, 32)).mean(-2)
            expected[row, :count] = (pooling.weight(both)[:, 0] / 0.1).softmax(-1)
    torch.testing.assert_close(weights, expected)
    target = torch.randn(6, 7)
    for own, theirs in zip(
        torch.autograd.grad((weights * target).sum(), list(pooling.parameters())),
        torch.autograd.grad((expected * target).sum(), list(pooling.parameters())),
        strict=True,
    ):
        torch.testing.assert_close(own, theirs, atol=1e-5, rtol=1e-4)


def sinusoidal_codes(length, width):
    places = torch.arange(length)[:, None]
    angles = places / 10000 ** (torch.arange(0, width, 2) / width)
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)


def test_weights_made_while_evaluating_serve_training_too():
    pooling, layout = GeneralisedPooling(), Layout.of(torch.tensor([0, 11, 24]))
    with torch.inference_mode():
        pooling.position_weights(layout)
    loss = pooling.position_weights(layout).square().sum()
    assert all(grad.any() for grad in torch.autograd.grad(loss, list(pooling.parameters())))


def test_graphs_that_are_all_empty_pool_to_zero():
    pooled = GeneralisedPooling()(torch.zeros(0, 4), Layout.of(torch.tensor([0, 0, 0])))
    assert pooled.tolist() == [[0.0] * 4] * 2


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gives_the_weights_of_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    torch.manual_seed(0)
    pooling = GeneralisedPooling()
    layout = Layout.of(torch.tensor([0, 36, 36, 37, 60]))
    expected = pooling.position_weights(layout).detach()
    own = pooling.cuda().position_weights(to_device(layout, torch.device("cuda")))
    own.square().sum().backward()
    torch.testing.assert_close(own.detach().cpu(), expected, atol=1e-4, rtol=1e-3)
