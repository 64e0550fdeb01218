"""Every backend against the float64 reference, on the sizes where things break."""

import dataclasses

import pytest
import torch

from resg.graphs.batch import GraphBatch
from resg.kernels.graph_attention import graph_attention, torch_backend

TOLERANCE = {torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 5e-3}
SIZES = {
    "empty": [0],
    "no-graph": [],
    "single": [1],
    "pair": [2],
    "regions": [36],
    "full-less-one": [63],
    "full": [64],
    "above": [65],
    "large": [200],
    "mixed": [3, 0, 17, 1],
    "words": [5, 16, 9],
    "giant-beside-tiny": [130, 2, 1, 3, 0, 2],
}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES.keys())
def test_forward_and_every_gradient_match_the_reference(place, make_case, sizes):
    for dtype in place.dtypes:
        if not sizes:
            graph = GraphBatch.from_edges([], [])
            rows = torch.zeros(0, 2, 32, dtype=dtype, device=place.device)
            out = graph_attention(
                rows, rows, rows, graph.to(place.device), rows[:, :, 0], backend=place.backend
            )
            assert out.shape == (0, 2, 32)
            continue
        case = make_case(sizes, dtype=dtype, device=place.device)
        errors = case.errors(case.run(place.backend))
        assert max(errors) <= TOLERANCE[dtype], (dtype, errors)


@pytest.mark.parametrize("width", [16, 24, 80, 256])
@pytest.mark.parametrize("sizes", [[7, 20], [66]], ids=["small", "large"])
def test_head_widths(place, make_case, sizes, width):
    for dtype in place.dtypes:
        case = make_case(sizes, heads=1, width=width, dtype=dtype, device=place.device)
        errors = case.errors(case.run(place.backend))
        assert max(errors) <= TOLERANCE[dtype], (dtype, errors)


@pytest.mark.parametrize("sizes", [[9, 40], [70]], ids=["small", "large"])
def test_degrees_beyond_one_step_of_the_kernel(place, make_case, sizes):
    for dtype in place.dtypes:
        case = make_case(sizes, degree=35, dtype=dtype, device=place.device)
        errors = case.errors(case.run(place.backend))
        assert max(errors) <= TOLERANCE[dtype], (dtype, errors)


@pytest.mark.parametrize("sizes", [[12, 33], [66]], ids=["small", "large"])
def test_views_and_transposed_inputs(place, make_case, sizes):
    """q, k, v as slices of one projection, transposed, and strided within a head."""
    dtype = torch.float16
    case = make_case(sizes, heads=2, dtype=dtype, device=place.device)
    q, k, v, bias = case.inputs
    joined = torch.stack([q, k, v], 1).unbind(1)
    by_head = [x.transpose(0, 1).contiguous().transpose(0, 1) for x in (q, k, v)]
    strided = [torch.stack([x, x], -1)[..., 1] for x in (q, k, v)]
    strided_bias = torch.stack([bias, bias], -1)[..., 0]
    for views in (joined, by_head, strided):
        viewed = dataclasses.replace(
            case, inputs=(*views, strided_bias), grad=case.grad.mT.contiguous().mT
        )
        assert not views[0].is_contiguous()
        assert max(case.errors(viewed.run(place.backend))) <= TOLERANCE[dtype]


@pytest.mark.parametrize("sizes", [[12, 33], [66]], ids=["small", "large"])
def test_an_expanded_gradient(place, make_case, sizes):
    """`out.sum().backward()` hands over a gradient with strides of 0."""
    case = make_case(sizes, device=place.device)
    ones = dataclasses.replace(case, grad=torch.ones((), device=place.device).expand_as(case.grad))
    assert max(ones.errors(ones.run(place.backend))) <= TOLERANCE[torch.float32]


def test_float32_bias_beside_half_features(place, make_case):
    case = make_case([12, 33], dtype=torch.float16, device=place.device)
    mixed = dataclasses.replace(case, inputs=(*case.inputs[:3], case.inputs[3].float() * 1.001))
    results = mixed.run(place.backend)
    assert results[4].dtype == torch.float32
    assert max(mixed.errors(results)) <= TOLERANCE[torch.float16]


def test_scale_is_used(place, make_case):
    case = make_case([12], device=place.device)
    doubled = dataclasses.replace(case, inputs=(case.inputs[0] * 2, *case.inputs[1:]))
    first = case.run(place.backend, scale=0.5)[0]
    second = doubled.run(place.backend, scale=0.25)[0]
    assert torch.allclose(first, second, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(first, case.run(place.backend)[0], rtol=1e-2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_large_scores_do_not_overflow(place, make_case, dtype):
    case = make_case([12, 66], dtype=dtype, device=place.device)
    q, k, v, bias = case.inputs
    large = dataclasses.replace(case, inputs=(q * 30, k * 30, v, bias + 500))
    out = large.run(place.backend)[0]
    assert out.isfinite().all()
    assert large.errors(large.run(place.backend))[0] <= TOLERANCE[dtype]


@pytest.mark.parametrize("sizes", [[40], [70]], ids=["small", "large"])
def test_a_bias_of_minus_infinity_leaves_an_edge_out(place, make_case, sizes):
    case = make_case(sizes, degree=35, heads=1, device=place.device)
    q, k, v, bias = case.inputs
    # more edges than a kernel reads at once, and one node keeps its last edge alone
    first = case.graph.indptr[:-1]
    place_in_row = torch.arange(case.graph.num_edges, device=place.device)
    place_in_row = place_in_row - first[case.graph.targets]
    closed = bias.masked_fill((place_in_row < 34)[:, None], -torch.inf)
    closed_case = dataclasses.replace(case, inputs=(q, k, v, closed))
    results = closed_case.run(place.backend)
    assert all(result.isfinite().all() for result in results)
    assert max(closed_case.errors(results)) <= TOLERANCE[torch.float32]


@pytest.mark.parametrize("extra", [[], [65]], ids=["small", "large"])
def test_isolated_node_gives_zero_not_nan(place, extra):
    edges = [(0, 1), (1, 0)]  # no edge into node 2, nor into the large graph
    graph = GraphBatch.from_edges(num_nodes=[3, *extra], edges=edges).to(place.device)
    q, k, v = (
        torch.randn(graph.num_nodes, 2, 16, device=place.device, requires_grad=True)
        for _ in range(3)
    )
    bias = torch.randn(2, 2, device=place.device, requires_grad=True)
    out = graph_attention(q, k, v, graph, bias, backend=place.backend)
    assert torch.equal(out[2:], torch.zeros_like(out[2:]))
    assert torch.allclose(out[0], v[1])
    for gradient in torch.autograd.grad(out, (q, k, v, bias), torch.ones_like(out)):
        assert gradient.isfinite().all()


@pytest.mark.parametrize("sizes", [[12, 1, 33], [66, 2]], ids=["small", "large"])
def test_every_output_is_written(place, make_case, monkeypatch, sizes):
    """Uninitialised memory is filled with NaN; none may come through."""
    empty = torch.empty

    def poisoned(*args, **kwargs):
        tensor = empty(*args, **kwargs)
        return tensor.fill_(torch.nan) if tensor.is_floating_point() else tensor

    for dtype in place.dtypes:
        case = make_case(sizes, dtype=dtype, device=place.device)
        with monkeypatch.context() as patch:
            patch.setattr(torch, "empty", poisoned)
            results = case.run(place.backend)
        assert all(result.isfinite().all() for result in results)
        assert max(case.errors(results)) <= TOLERANCE[dtype]


@pytest.mark.parametrize("sizes", [[12, 36, 33], [66, 2]], ids=["small", "large"])
def test_two_runs_agree_bit_for_bit(place, make_case, sizes):
    for dtype in place.dtypes:
        case = make_case(sizes, dtype=dtype, device=place.device)
        for first, second in zip(case.run(place.backend), case.run(place.backend), strict=True):
            assert torch.equal(first, second)


@pytest.mark.parametrize("sizes", [[5, 36, 33], [66, 2]], ids=["small", "large"])
def test_a_batch_gives_what_its_graphs_give_alone(place, make_case, sizes):
    case = make_case(sizes, dtype=torch.float16, device=place.device)
    together = case.run(place.backend)[0]
    q, k, v, bias = case.inputs
    node, edge = 0, 0
    for size in sizes:
        graph = case.graph.to("cpu")
        last = int(graph.indptr[node + size])
        alone = GraphBatch.from_csr(
            [0, size],
            graph.indptr[node : node + size + 1] - edge,
            graph.indices[edge:last] - node,
        ).to(place.device)
        rows = slice(node, node + size)
        out = graph_attention(
            q[rows], k[rows], v[rows], alone, bias[edge:last], backend=place.backend
        )
        assert torch.allclose(out, together[rows], rtol=5e-3, atol=5e-3)
        node, edge = node + size, last


def test_gradients_of_the_reference(make_case):
    case = make_case([4, 1, 3], degree=2, heads=1, width=3, dtype=torch.float64)

    def run(q, k, v, bias):
        return graph_attention(q, k, v, case.graph, bias, backend="reference")

    inputs = [x.requires_grad_() for x in case.inputs]
    assert torch.autograd.gradcheck(run, inputs)
    assert torch.autograd.gradgradcheck(run, inputs)


@pytest.mark.parametrize("backend", ["scatter", "torch"])
@pytest.mark.parametrize("sizes", [[12, 1, 33], [66, 2]], ids=["small", "large"])
def test_composed_backends_keep_float64(make_case, backend, sizes):
    if backend == "scatter":
        pytest.importorskip("torch_scatter")
    case = make_case(sizes, dtype=torch.float64)
    assert max(case.errors(case.run(backend))) <= 1e-14


@pytest.mark.parametrize("sizes", [[36], [9, 12], [90], [70, 2, 1, 3]])
def test_plain_pytorch_by_matrices_and_by_edges(make_case, monkeypatch, sizes):
    case = make_case(sizes, dtype=torch.float64)
    chosen = torch_backend.uses_matrices(case.graph)
    assert chosen == (3 not in sizes)  # one large graph beside tiny ones would be padded in vain
    for forced in (False, True):
        monkeypatch.setattr(torch_backend, "uses_matrices", lambda graph, forced=forced: forced)
        assert max(case.errors(case.run("torch"))) <= 1e-14


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("kernels", ["dense", "edges"])
def test_more_than_two_to_the_31_elements(kernels):
    """2.2 million nodes x 1024; the last graph must equal itself alone."""
    size, graphs = 36, 61_112
    num_nodes = size * graphs
    ring = torch.arange(num_nodes) // size * size + (torch.arange(num_nodes) + 1) % size
    graph = GraphBatch.from_csr(
        torch.arange(graphs + 1) * size, torch.arange(num_nodes + 1), ring
    ).to("cuda")
    if kernels == "edges":
        graph = dataclasses.replace(graph, masks=None)
    q, k, v, grad = (
        torch.randn(num_nodes, 8, 128, dtype=torch.bfloat16, device="cuda") for _ in range(4)
    )
    assert q.numel() > 2**31
    bias = torch.randn(num_nodes, 8, dtype=torch.bfloat16, device="cuda")
    inputs = [x.requires_grad_() for x in (q, k, v, bias)]
    out = graph_attention(q, k, v, graph, bias, backend="triton")
    results = [out, *torch.autograd.grad(out, inputs, grad)]

    last = slice(num_nodes - size, None)
    alone = GraphBatch.from_edges([size], [((t + 1) % size, t) for t in range(size)]).to("cuda")
    small = [x.detach()[last].double().requires_grad_() for x in inputs]
    expected = graph_attention(*small[:3], alone, small[3], backend="reference")
    exact = [expected, *torch.autograd.grad(expected, small, grad[last].double())]
    for result, reference in zip(results, exact, strict=True):
        difference = (result[last].double() - reference).norm()
        assert difference <= 5e-3 * reference.norm() + 1e-3
