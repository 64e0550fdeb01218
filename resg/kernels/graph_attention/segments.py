"""Graph attention edge by edge: gather, softmax in segments, sum in segments; any graph.

M nodes, E edges, H heads, d head width.  Memory: a few arrays [E, H, d] in float32 (float64 for
float64 inputs).  Both passes are written out, so that nothing of size [E, H, d] is kept between
them and every sum runs over a sorted segment: no atomics.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from resg.graphs.batch import GraphBatch


@dataclass(frozen=True)
class Segments:
    """The three operations on rows sorted by segment; `pointers` `[M + 1]` starts each segment.

    Attributes:
        sum: `([E, ...], pointers) -> [M, ...]`, 0 for an empty segment.
        max: `([E, ...], pointers) -> [M, ...]`, anything for an empty segment.
        expand: `([M, ...], pointers) -> [E, ...]`, each segment's row for each of its members.
    """

    sum: Callable[[Tensor, Tensor], Tensor]
    max: Callable[[Tensor, Tensor], Tensor]
    expand: Callable[[Tensor, Tensor], Tensor]


def edges_forward(
    segments: Segments,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    edge_bias: Tensor,
    graph: GraphBatch,
    scale: float,
) -> tuple[Tensor, Tensor]:
    """Output `[M, H, d]` and log-sum-exp `[M, H]`."""
    wide = torch.promote_types(q.dtype, torch.float32)
    scores = _scores(segments, q.to(wide), k.to(wide), edge_bias, graph, scale)
    top = segments.max(scores, graph.indptr)
    weights = (scores - segments.expand(top, graph.indptr)).exp_()
    totals = segments.sum(weights, graph.indptr)
    attention = weights / segments.expand(totals, graph.indptr)
    values = v.to(wide).index_select(0, graph.indices)
    out = segments.sum(values.mul_(attention[..., None]), graph.indptr)
    return out.to(q.dtype), totals.log_().add_(top)


def edges_backward(
    segments: Segments,
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    edge_bias: Tensor,
    lse: Tensor,
    graph: GraphBatch,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of q, k, v and the edge bias, from the output's gradient and the log-sum-exp."""
    wide = torch.promote_types(q.dtype, torch.float32)
    grad_wide, query, key = grad.to(wide), q.to(wide), k.to(wide)
    scores = _scores(segments, query, key, edge_bias, graph, scale)
    attention = scores.sub_(segments.expand(lse, graph.indptr)).exp_()  # [E, H]

    values = v.to(wide).index_select(0, graph.indices)
    grad_attention = values.mul_(segments.expand(grad_wide, graph.indptr)).sum(-1)
    inner = segments.sum(attention * grad_attention, graph.indptr)
    grad_scores = attention * (grad_attention - segments.expand(inner, graph.indptr))

    def back(weights: Tensor, rows: Tensor, pointers: Tensor, nodes: Tensor) -> Tensor:
        chosen = rows.index_select(0, nodes)
        return segments.sum(chosen.mul_(weights[..., None]), pointers)

    outgoing, order = graph.reverse_indptr, graph.reverse_edges
    grad_q = back(grad_scores, key, graph.indptr, graph.indices) * scale
    grad_k = back(grad_scores[order], query, outgoing, graph.reverse_indices) * scale
    grad_v = back(attention[order], grad_wide, outgoing, graph.reverse_indices)
    return (
        grad_q.to(q.dtype),
        grad_k.to(k.dtype),
        grad_v.to(v.dtype),
        grad_scores.to(edge_bias.dtype),
    )


def _scores(
    segments: Segments, q: Tensor, k: Tensor, edge_bias: Tensor, graph: GraphBatch, scale: float
) -> Tensor:
    products = k.index_select(0, graph.indices).mul_(segments.expand(q, graph.indptr))
    return products.sum(-1).mul_(scale).add_(edge_bias)
