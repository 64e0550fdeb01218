"""Cases and backends for the tests of graph attention.

A backend is tested at a place: `cpu`, `cuda` (marked so), or, for Triton without a GPU, in its
`interpreter`. The interpreter must be asked for before Triton is imported, so its tests run in a
process of their own, which ../test_interpreter.py starts.
"""

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from resg.graphs.batch import GraphBatch
from resg.kernels.graph_attention import graph_attention

INTERPRETING = os.environ.get("TRITON_INTERPRET") == "1"
PLACES = [
    pytest.param(("scatter", "cpu"), id="scatter-cpu"),
    pytest.param(("torch", "cpu"), id="torch-cpu"),
    pytest.param(("triton", "interpreter"), id="triton-interpreter"),
    pytest.param(("scatter", "cuda"), id="scatter-cuda", marks=pytest.mark.cuda),
    pytest.param(("torch", "cuda"), id="torch-cuda", marks=pytest.mark.cuda),
    pytest.param(("triton", "cuda"), id="triton-cuda", marks=pytest.mark.cuda),
]


def pytest_collection_modifyitems(config, items):
    """Interpreter tests run in the interpreter's process alone."""
    if INTERPRETING:
        return
    here = Path(__file__).parent  # pytest hands over the items of all folders
    left = [
        item
        for item in items
        if item.path.is_relative_to(here) and "interpreter" in getattr(item, "callspec", Param).id
    ]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]


class Param:
    """Stands for the parameters of a test that has none."""

    id = ""


@dataclass(frozen=True)
class Place:
    backend: str
    name: str

    @property
    def device(self):
        return "cuda" if self.name == "cuda" else "cpu"

    @property
    def dtypes(self):
        """The interpreter's bfloat16 products are garbage."""
        halves = [torch.float16] if self.name == "interpreter" else [torch.float16, torch.bfloat16]
        return [torch.float32, *halves]


@pytest.fixture(params=PLACES)
def place(request):
    backend, name = request.param
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    if backend == "scatter" and find_spec("torch_scatter") is None:
        pytest.skip("torch-scatter is not installed")
    return Place(backend, name)


@dataclass(frozen=True)
class Case:
    graph: GraphBatch
    inputs: tuple  # q, k, v [M, H, d] and edge_bias [E, H]
    grad: torch.Tensor

    def run(self, backend, dtype=None, **settings):
        """Output and the four gradients."""
        inputs = [x.detach().to(dtype or x.dtype).requires_grad_() for x in self.inputs]
        q, k, v, edge_bias = inputs
        out = graph_attention(q, k, v, self.graph, edge_bias, backend=backend, **settings)
        return [out.detach(), *torch.autograd.grad(out, inputs, self.grad.to(out.dtype))]

    def errors(self, results):
        """RMS relative error of each result against the reference in float64."""
        exact = self.run("reference", torch.float64)
        return [
            float((x.double() - y).norm() / y.norm()) if y.norm() > 0 else float(x.double().norm())
            for x, y in zip(results, exact, strict=True)
        ]


def random_graph(sizes, degree, generator):
    """Each node has `degree` sources where its graph is that large; every seventh has none."""
    parts = []
    for size in sizes:
        edges = [
            (int(source), target)
            for target in range(size)
            if size < 3 or target % 7 != 3
            for source in torch.randperm(size, generator=generator)[:degree]
        ]
        parts.append(GraphBatch.from_edges([size], edges))
    return GraphBatch.collate(parts)


@pytest.fixture
def make_case():
    def make(sizes, *, degree=5, heads=None, width=32, dtype=torch.float32, device="cpu", seed=0):
        if heads is None:  # the interpreter takes milliseconds a node and head
            heads = 1 if INTERPRETING and sum(sizes) > 40 else 2
        generator = torch.Generator().manual_seed(seed)
        graph = random_graph(sizes, degree, generator)

        def normal(*shape):
            return torch.randn(*shape, generator=generator).to(dtype).to(device)

        rows = [normal(graph.num_nodes, heads, width) for _ in range(4)]
        bias = normal(graph.num_edges, heads)
        return Case(graph.to(device), (*rows[:3], bias), rows[3])

    return make
