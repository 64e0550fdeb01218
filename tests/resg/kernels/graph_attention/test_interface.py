"""Which backend runs, what is refused, and how PyTorch sees the operators."""

import pytest
import torch

from resg.graphs.batch import GraphBatch
from resg.kernels.dispatch import backend_module
from resg.kernels.graph_attention import graph_attention, operators
from resg.kernels.graph_attention.checks import AttentionInputs


def expected_kernels(backend, sizes, dtype):
    if backend != "triton":
        return []
    if max(sizes) <= 64 and dtype != torch.float32:
        return ["dense_forward", "dense_backward"]
    return ["edges_forward", "edges_backward_targets", "edges_backward_sources"]


@pytest.mark.parametrize("sizes", [[5, 12], [66]], ids=["small", "large"])
def test_the_named_backend_and_its_kernels_run(place, make_case, monkeypatch, sizes):
    reached, kernels = [], []
    monkeypatch.setattr(
        operators,
        "backend_module",
        lambda kernel, name: reached.append(name) or backend_module(kernel, name),
    )
    if place.backend == "triton":
        module = backend_module("graph_attention", "triton")
        run = module.run_kernel

        def spy(kernel, *args, **constants):
            kernels.append(getattr(kernel, "fn", kernel).__name__)
            return run(kernel, *args, **constants)

        monkeypatch.setattr(module, "run_kernel", spy)
    for dtype in place.dtypes:
        reached.clear()
        kernels.clear()
        make_case(sizes, dtype=dtype, device=place.device).run(place.backend)
        assert reached == [place.backend] * 2
        assert kernels == expected_kernels(place.backend, sizes, dtype)


def test_the_reference_runs_no_operator(make_case, monkeypatch):
    def fail(kernel, name):
        raise AssertionError(name)

    monkeypatch.setattr(operators, "backend_module", fail)
    make_case([5]).run("reference")
    with pytest.raises(AssertionError):
        make_case([5]).run("torch")


@pytest.mark.parametrize("place", ["triton-interpreter"], indirect=True)
def test_the_dense_kernels_in_float32(place, make_case, monkeypatch):
    """Float32 takes the edge kernels; this checks the dense ones without rounding in the way."""
    module = backend_module("graph_attention", "triton")
    monkeypatch.setattr(module, "uses_tiles", lambda graph, dtype: True)
    for width in (16, 40, 256):
        case = make_case([3, 36, 0, 64], width=width, device=place.device)
        assert max(case.errors(case.run("triton"))) <= 1e-5


def valid():
    graph = GraphBatch.from_edges([3], [(0, 1), (2, 1)])
    return {
        "q": torch.randn(3, 2, 16),
        "k": torch.randn(3, 2, 16),
        "v": torch.randn(3, 2, 16),
        "graph": graph,
        "edge_bias": torch.randn(2, 2),
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": torch.randn(4, 2, 16)}, r"q \(3, 2, 16\), k \(4, 2, 16\)"),
        ({"q": torch.randn(3, 32)}, r"one shape \[nodes, heads, width\]; got q \(3, 32\)"),
        ({"edge_bias": torch.randn(3, 2)}, r"edge_bias has the shape \(3, 2\), expected \(2, 2\)"),
        ({"edge_bias": torch.randn(2)}, r"edge_bias has the shape \(2,\), expected \(2, 2\)"),
        ({"graph": GraphBatch.from_edges([4], [(0, 1), (2, 1)])}, "graph has 4 nodes"),
        ({"q": torch.ones(3, 2, 16, dtype=torch.int64)}, "q is torch.int64"),
        ({"q": torch.randn(3, 2, 16).half()}, "one dtype; got torch.float16, torch.float32"),
        ({"v": torch.randn(3, 2, 16, device="meta")}, "v on meta"),
        ({"backend": "cuda"}, "no backend 'cuda'"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_before_any_launch(monkeypatch, change, message):
    monkeypatch.setattr(operators, "backend_module", None)
    with pytest.raises(ValueError, match=message):
        graph_attention(**(valid() | change))


@pytest.mark.parametrize("sizes", [[3, 7], [65]], ids=["small", "large"])
def test_operators_pass_opcheck(place, make_case, sizes):
    case = make_case(sizes, device=place.device)
    q, k, v, bias = (x.detach().requires_grad_() for x in case.inputs)
    inputs = AttentionInputs(q, k, v, bias, case.graph, 0.25)
    arguments = operators.operator_arguments(inputs, place.backend)
    torch.library.opcheck(operators.attention, arguments)
    values = [x.detach() if isinstance(x, torch.Tensor) else x for x in arguments]
    out, lse = operators.attention(*values)
    torch.library.opcheck(operators.attention_backward, (case.grad, out, lse, *values))


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch[.]jit")  # on importing inductor
@pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores:UserWarning")  # its advice
def test_compiled_without_a_graph_break(place, make_case):
    """Fixed and changing sizes, forward and backward."""
    compiler = "inductor" if place.name == "cuda" else "aot_eager"

    def model(q, k, v, graph, bias):
        return graph_attention(q * 2, k, v, graph, bias, backend=place.backend).relu()

    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend=compiler)
    for sizes in ([5, 12], [7, 3, 9], [11]):
        case = make_case(sizes, device=place.device)
        inputs = [x.requires_grad_() for x in case.inputs]
        outs = [run(*inputs[:3], case.graph, inputs[3]) for run in (model, compiled)]
        grads = [torch.autograd.grad(out, inputs, case.grad) for out in outs]
        for first, second in zip((outs[0], *grads[0]), (outs[1], *grads[1]), strict=True):
            assert torch.allclose(first, second, rtol=1e-5, atol=1e-6)


def test_autocast_changes_nothing(place, make_case):
    for dtype in place.dtypes:
        case = make_case([5, 9], dtype=dtype, device=place.device)
        expected = case.run(place.backend)
        with torch.autocast(place.device, dtype=torch.bfloat16):
            results = case.run(place.backend)
        assert all(torch.equal(a, b) for a, b in zip(results, expected, strict=True))
