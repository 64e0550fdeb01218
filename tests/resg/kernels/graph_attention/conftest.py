"""Cases for the tests of graph attention."""

import os
from dataclasses import dataclass

import pytest
import torch

from resg.graphs.batch import GraphBatch
from resg.kernels.graph_attention import graph_attention

INTERPRETING = os.environ.get("TRITON_INTERPRET") == "1"


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
    edges, first = [], 0
    for size in sizes:
        edges += [
            (first + int(source), first + target)
            for target in range(size)
            if size < 3 or target % 7 != 3
            for source in torch.randperm(size, generator=generator)[:degree]
        ]
        first += size
    return GraphBatch.from_edges(sizes, edges)


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
