"""Is the backend of a call the one that argument, environment and inputs ask for?"""

import subprocess
import sys

import pytest
import torch

from resg.graphs.batch import GraphBatch
from resg.kernels import dispatch
from resg.kernels.graph_attention import BACKENDS as ATTENTION
from resg.kernels.graph_attention import graph_attention
from resg.kernels.pair_scores import BACKENDS as PAIRS
from resg.kernels.pair_scores import pair_scores

both_kernels = pytest.mark.parametrize("backends", [ATTENTION, PAIRS], ids=lambda b: b.kernel)


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    monkeypatch.delenv("RESG_KERNELS", raising=False)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)


@both_kernels
def test_the_argument_goes_before_the_environment(monkeypatch, backends):
    monkeypatch.setenv("RESG_KERNELS", "reference")
    assert backends.choose("auto", "cpu", torch.float32, 64) == "reference"
    assert backends.choose("torch", "cpu", torch.float32, 64) == "torch"


@both_kernels
def test_an_unknown_backend_is_refused_wherever_it_is_named(monkeypatch, backends):
    with pytest.raises(ValueError, match=rf"{backends.kernel} has no backend 'cuda'.*RESG_KERNELS"):
        backends.choose("cuda", "cpu", torch.float32, 64)
    monkeypatch.setenv("RESG_KERNELS", "fast")
    with pytest.raises(ValueError, match=r"no backend 'fast'.*auto, reference.*RESG_KERNELS"):
        backends.choose("auto", "cpu", torch.float32, 64)


@both_kernels
def test_auto_takes_triton_where_it_can_run(monkeypatch, backends):
    monkeypatch.setattr(dispatch, "HAS_TRITON", True)
    assert backends.choose("auto", "cpu", torch.float32, 64) == "torch"
    assert backends.choose("auto", "cuda", torch.bfloat16, 64) == "triton"
    assert backends.choose("auto", "cuda", torch.float64, 64) == "torch"
    wide = "triton" if backends.triton_width is None else "torch"
    assert backends.choose("auto", "cuda", torch.bfloat16, 1024) == wide
    monkeypatch.setattr(dispatch, "HAS_TRITON", False)
    assert backends.choose("auto", "cuda", torch.bfloat16, 64) == "torch"


def test_scatter_in_the_environment_is_torch_for_a_kernel_without_it(monkeypatch):
    monkeypatch.setattr(dispatch, "HAS_SCATTER", True)
    monkeypatch.setenv("RESG_KERNELS", "scatter")
    assert ATTENTION.choose("auto", "cpu", torch.float32, 64) == "scatter"
    assert PAIRS.choose("auto", "cpu", torch.float32, 64) == "torch"
    with pytest.raises(ValueError, match="no backend 'scatter'"):
        PAIRS.choose("scatter", "cpu", torch.float32, 64)


@both_kernels
@pytest.mark.parametrize(
    ("device", "dtype", "message"),
    [("cpu", torch.float32, "inputs are on cpu"), ("cuda", torch.float64, r"take torch\.float64")],
)
def test_triton_where_it_cannot_run(monkeypatch, backends, device, dtype, message):
    monkeypatch.setattr(dispatch, "HAS_TRITON", True)
    with pytest.raises(ValueError, match=rf"{message}.*Use backend='torch'"):
        backends.choose("triton", device, dtype, 64)


def test_heads_too_wide_for_triton(monkeypatch):
    monkeypatch.setattr(dispatch, "HAS_TRITON", True)
    with pytest.raises(ValueError, match="width of 256 at most, this one is 320"):
        ATTENTION.choose("triton", "cuda", torch.float32, 320)


def test_missing_torch_scatter_is_named(monkeypatch):
    monkeypatch.setattr(dispatch, "HAS_SCATTER", False)
    with pytest.raises(ValueError, match=r"pip install .*resg\[scatter\]"):
        ATTENTION.choose("scatter", "cpu", torch.float32, 64)


@pytest.mark.parametrize("named", ["auto", "torch"])
def test_torch_compile_traces_the_choice(monkeypatch, named):
    monkeypatch.setenv("RESG_KERNELS", named)
    graph = GraphBatch.from_edges([3, 2], [(0, 1), (2, 1), (4, 3)])
    ptr = torch.tensor([0, 2, 5])

    def scores(nodes, bias):
        attended = graph_attention(nodes * 2, nodes, nodes, graph, bias).flatten(1)
        return pair_scores(attended, nodes.flatten(1), ptr, ptr)

    torch._dynamo.reset()
    compiled = torch.compile(scores, fullgraph=True, backend="aot_eager")
    inputs = [torch.randn(5, 2, 8, requires_grad=True), torch.randn(3, 2, requires_grad=True)]
    results = []
    for function in (scores, compiled):
        out = function(*inputs)
        results.append([out, *torch.autograd.grad(out.sum(), inputs)])
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected)


def test_importing_the_kernels_does_not_import_the_compiler():
    """It takes longer than everything else that they import after torch."""
    code = (
        "import sys, resg.kernels.graph_attention, resg.kernels.pair_scores;"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
