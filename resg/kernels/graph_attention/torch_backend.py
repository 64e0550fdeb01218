"""The `torch` backend: padded matrices where they are cheap, edge by edge where they are not.

B graphs, N nodes of the largest, M nodes, E edges, H heads, d head width.  A small graph is cheaper
as an N x N matrix than as a list of edges: no row is gathered once for each of its edges.
"""

import torch
from torch import Tensor

from resg.graphs.batch import GraphBatch
from resg.kernels.graph_attention.checks import AttentionInputs
from resg.kernels.graph_attention.segments import Segments

PAIRS_PER_EDGE = 32
"""Matrices are used up to so many pairs of nodes per edge; a CPU breaks even near 40."""


def uses_matrices(graph: GraphBatch) -> bool:
    """Whether padded matrices are cheap: their size is a bounded multiple of the edges."""
    return graph.num_graphs * graph.max_nodes**2 <= PAIRS_PER_EDGE * graph.num_edges


def _segment_reduce(reduce: str, rows: Tensor, pointers: Tensor) -> Tensor:
    if rows.shape[0] == 0:  # a launch of no threads is an error on the GPU
        return rows.new_zeros(pointers.shape[0] - 1, *rows.shape[1:])
    return torch.segment_reduce(rows, reduce, offsets=pointers, axis=0)


SEGMENTS = Segments(
    sum=lambda rows, pointers: _segment_reduce("sum", rows, pointers),
    max=lambda rows, pointers: _segment_reduce("max", rows, pointers),
    expand=lambda rows, pointers: rows.repeat_interleave(pointers.diff(), dim=0),
)


def forward(inputs: AttentionInputs) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp."""
    if not uses_matrices(inputs.graph):
        return SEGMENTS.forward(inputs)
    padding = Padding(inputs.graph)
    scores = _scores(padding, inputs, padding.pad(inputs.q), padding.pad(inputs.k))
    lse = scores.logsumexp(-1)
    attention = _attention(scores, lse)
    out = padding.unpad(attention @ padding.pad(inputs.v))
    return out.to(inputs.q.dtype), padding.unpad(lse[..., None])[..., 0]


def backward(
    inputs: AttentionInputs, grad: Tensor, out: Tensor | None, lse: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of q, k, v and the edge bias; the output is not needed."""
    if not uses_matrices(inputs.graph):
        return SEGMENTS.backward(inputs, grad, out, lse)
    padding, scale = Padding(inputs.graph), inputs.scale
    query, key, value, grad_out = (padding.pad(x) for x in (inputs.q, inputs.k, inputs.v, grad))
    scores = _scores(padding, inputs, query, key)
    attention = _attention(scores, padding.pad(lse[..., None])[..., 0])
    grad_attention = grad_out @ value.mT
    inner = (attention * grad_attention).sum(-1, keepdim=True)
    grad_scores = attention * (grad_attention - inner)
    return (
        padding.unpad(grad_scores @ key).mul_(scale).to(inputs.q.dtype),
        padding.unpad(grad_scores.mT @ query).mul_(scale).to(inputs.k.dtype),
        padding.unpad(attention.mT @ grad_out).to(inputs.v.dtype),
        padding.edges(grad_scores).to(inputs.edge_bias.dtype),
    )


class Padding:
    """Where the nodes and edges of a batch lie in arrays [B, H, N, ...]."""

    def __init__(self, graph: GraphBatch) -> None:
        owners, targets = graph.owners, graph.targets
        self.shape = (graph.num_graphs, graph.max_nodes)
        self.is_full = graph.num_nodes == graph.num_graphs * graph.max_nodes
        place = torch.arange(graph.num_nodes, device=graph.device) - graph.node_ptr[owners]
        self.nodes = owners * graph.max_nodes + place
        self.places = self.nodes[targets] * graph.max_nodes + place[graph.indices]

    def pad(self, rows: Tensor) -> Tensor:
        """`[M, H, x]` to `[B, H, N, x]` in float32 at least, zeros where there is no node."""
        wide = torch.promote_types(rows.dtype, torch.float32)
        padded = rows.to(wide)
        if not self.is_full:
            empty = padded.new_zeros(self.shape[0] * self.shape[1], *rows.shape[1:])
            padded = empty.index_copy_(0, self.nodes, padded)
        return padded.unflatten(0, self.shape).transpose(1, 2)

    def unpad(self, padded: Tensor) -> Tensor:
        """The inverse of `pad`."""
        rows = padded.transpose(1, 2).flatten(0, 1)
        return rows.contiguous() if self.is_full else rows.index_select(0, self.nodes)

    def matrix(self, edges: Tensor) -> Tensor:
        """`[E, H]` to `[B, H, N, N]`, -inf where there is no edge."""
        graphs, size = self.shape
        flat = edges.new_full((graphs * size * size, edges.shape[1]), -torch.inf)
        flat.index_copy_(0, self.places, edges)
        return flat.view(graphs, size, size, -1).permute(0, 3, 1, 2)

    def edges(self, matrix: Tensor) -> Tensor:
        """`[B, H, N, N]` to `[E, H]`."""
        return matrix.permute(0, 2, 3, 1).flatten(0, 2).index_select(0, self.places)


def _scores(padding: Padding, inputs: AttentionInputs, query: Tensor, key: Tensor) -> Tensor:
    bias = padding.matrix(inputs.edge_bias.to(query.dtype))
    return bias + inputs.scale * (query @ key.mT)


def _attention(scores: Tensor, lse: Tensor) -> Tensor:
    """Softmax weights; a node without neighbours (its log-sum-exp is -inf) has none."""
    return (scores - lse.nan_to_num(neginf=0.0)[..., None]).exp_()
