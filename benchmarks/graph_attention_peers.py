"""Graph attention as others write it, and the batches that `graph_attention.py` measures it on.

B graphs, N nodes each, E edges, H heads, d head width.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from resg.graphs.batch import GraphBatch
from resg.kernels.graph_attention import graph_attention

HEADS, WIDTH = 8, 128

# With torch 2.11 FlexAttention's own choice on an H200 (backward: blocks of 64 x 128, 3 stages) has
# no room there for a contiguous bias, which its pipeline probably prefetches too.
FLEX_OPTIONS = {
    "fwd_BLOCK_M": 64,
    "fwd_BLOCK_N": 64,
    "bwd_BLOCK_M1": 64,
    "bwd_BLOCK_N1": 64,
    "bwd_BLOCK_M2": 64,
    "bwd_BLOCK_N2": 64,
    "bwd_num_stages": 2,
    "bwd_num_warps": 4,
}


@dataclass(frozen=True)
class Workload:
    """Graphs of one size; sources of each node are drawn without repetition."""

    graphs: int
    nodes: int
    degree: int
    dtype: torch.dtype = torch.bfloat16
    device: str = "cuda"

    def __str__(self) -> str:
        kind = str(self.dtype).removeprefix("torch.")
        return f"{self.graphs} graphs x {self.nodes} nodes, degree {self.degree}, {kind}"

    def graph(self) -> GraphBatch:
        """The batch, on the device."""
        torch.manual_seed(0)
        keys = torch.rand(self.graphs * self.nodes, self.nodes)
        sources = keys.topk(self.degree, 1).indices.sort(1).values
        first = torch.arange(self.graphs * self.nodes) // self.nodes * self.nodes
        graph = GraphBatch.from_csr(
            torch.arange(self.graphs + 1) * self.nodes,
            torch.arange(self.graphs * self.nodes + 1) * self.degree,
            (sources + first[:, None]).flatten(),
        )
        return graph.to(self.device)

    def inputs(self) -> list[Tensor]:
        """q, k, v, edge bias and the gradient of the output."""
        rows = self.graphs * self.nodes
        shapes = [(rows, HEADS, WIDTH)] * 3 + [(rows * self.degree, HEADS), (rows, HEADS, WIDTH)]
        made = [torch.randn(shape, dtype=self.dtype, device=self.device) for shape in shapes]
        return [x.requires_grad_() for x in made[:4]] + [made[4]]

    def bytes(self) -> int:
        """Least traffic of one step."""
        rows = self.graphs * self.nodes
        return self.dtype.itemsize * HEADS * rows * (11 * WIDTH + 3 * self.degree)


class Peers:
    """The operation as others write it; each takes (q, k, v, edge_bias) and returns the output."""

    def __init__(self, workload: Workload, graph: GraphBatch) -> None:
        self.graph, self.workload = graph, workload
        self.sources, self.targets = graph.indices, graph.targets
        batch, nodes = workload.graphs, workload.nodes
        owner = graph.owners[self.targets]
        local = [x - graph.node_ptr[owner] for x in (self.targets, self.sources)]
        self.places = (owner, local[0], local[1])
        self.adjacency = torch.zeros(batch, nodes, nodes, dtype=torch.bool, device=graph.device)
        self.adjacency[self.places] = True
        self.compiled_flex: Any = None

    def torch_scatter(self, q: Tensor, k: Tensor, v: Tensor, edge_bias: Tensor) -> Tensor:
        """Gather, softmax and sum over CSR segments, with autograd."""
        from torch_scatter import gather_csr, segment_csr

        pointers = self.graph.indptr
        scores = (gather_csr(q, pointers) * k[self.sources]).sum(-1) * WIDTH**-0.5 + edge_bias
        top = segment_csr(scores, pointers, reduce="max")
        weights = (scores - gather_csr(top, pointers)).exp()
        weights = weights / gather_csr(segment_csr(weights, pointers), pointers)
        return segment_csr(v[self.sources] * weights[..., None], pointers)

    def geometric(self, q: Tensor, k: Tensor, v: Tensor, edge_bias: Tensor) -> Tensor:
        """As PyTorch Geometric's TransformerConv does it."""
        from torch_geometric.utils import scatter, softmax

        count = self.graph.num_nodes
        scores = (q[self.targets] * k[self.sources]).sum(-1) * WIDTH**-0.5 + edge_bias
        weights = softmax(scores, self.targets, num_nodes=count)
        return scatter(v[self.sources] * weights[..., None], self.targets, 0, count, "sum")

    def heads_first(self, rows: Tensor) -> Tensor:
        """`[B * N, H, d]` to `[B, H, N, d]`."""
        return rows.view(self.workload.graphs, -1, HEADS, WIDTH).transpose(1, 2)

    def dense_bias(self, edge_bias: Tensor) -> Tensor:
        """`[E, H]` to `[B, H, N, N]`, -inf where there is no edge."""
        batch, nodes = self.workload.graphs, self.workload.nodes
        matrix = edge_bias.new_full((batch, nodes, nodes, HEADS), -torch.inf)
        return matrix.index_put(self.places, edge_bias).permute(0, 3, 1, 2)

    def ready_bias(self, edge_bias: Tensor) -> Tensor:
        """The dense bias as a leaf that takes a gradient."""
        return self.dense_bias(edge_bias.detach()).contiguous().requires_grad_()

    def dense(self, q: Tensor, k: Tensor, v: Tensor, matrix: Tensor) -> Tensor:
        """Masked softmax in plain PyTorch."""
        query, key, value = (self.heads_first(x) for x in (q, k, v))
        scores = (query @ key.mT).float() * WIDTH**-0.5 + matrix
        out = scores.softmax(-1).to(v.dtype) @ value
        return out.transpose(1, 2).reshape(q.shape)

    def sdpa(self, q: Tensor, k: Tensor, v: Tensor, matrix: Tensor) -> Tensor:
        """PyTorch's fused attention, with the mask and the bias in one matrix."""
        query, key, value = (self.heads_first(x) for x in (q, k, v))
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=matrix)
        return out.transpose(1, 2).reshape(q.shape)

    def flex(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        matrix: Tensor,
        options: dict[str, int] | None = None,
    ) -> Tensor:
        """FlexAttention with a block mask made beforehand."""
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention

        if self.compiled_flex is None:
            batch, nodes, adjacency = self.workload.graphs, self.workload.nodes, self.adjacency

            def is_edge(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
                return adjacency[b, i, j]

            self.block_mask = create_block_mask(is_edge, batch, None, nodes, nodes, q.device)
            self.compiled_flex = torch.compile(flex_attention)

        def biased(score: Tensor, b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
            return score + matrix[b, h, i, j]

        query, key, value = (self.heads_first(x) for x in (q, k, v))
        out = self.compiled_flex(
            query, key, value, biased, block_mask=self.block_mask, kernel_options=options
        )
        return out.transpose(1, 2).reshape(q.shape)

    def function(self, name: str) -> Callable[..., Tensor]:
        """The peer of that name."""

        def ours(backend: str) -> Callable[..., Tensor]:
            return lambda q, k, v, b: graph_attention(q, k, v, self.graph, b, backend=backend)

        def built(peer: Callable[..., Tensor]) -> Callable[..., Tensor]:
            return lambda q, k, v, b: peer(q, k, v, self.dense_bias(b))

        functions: dict[str, Callable[..., Tensor]] = {
            "resg triton": ours("triton"),
            "resg torch": ours("torch"),
            "resg scatter": ours("scatter"),
            "torch-scatter composition": self.torch_scatter,
            "PyG softmax and scatter": self.geometric,
            "torch.compile dense": built(self.dense),
            "torch.compile dense, ready": self.dense,
            "SDPA with mask": built(self.sdpa),
            "SDPA with mask, ready": self.sdpa,
            "FlexAttention": built(self.flex),
            "FlexAttention, ready": partial(self.flex, options=FLEX_OPTIONS),
        }
        function = functions[name]
        return torch.compile(function) if name.startswith("torch.compile") else function


def peer_names(device: str) -> list[str]:
    """The peers that run on the device with what is installed; `ready` ones get a dense bias."""
    names = ["resg torch"]
    if find_spec("torch_scatter"):
        names += ["resg scatter", "torch-scatter composition"]
    if find_spec("torch_geometric"):
        names.append("PyG softmax and scatter")
    if device == "cuda":
        forms = ["torch.compile dense", "SDPA with mask", "FlexAttention"]
        names = ["resg triton", *names]
        names += [form + ending for form in forms for ending in ("", ", ready")]
    return names
