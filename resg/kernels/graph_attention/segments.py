"""Graph attention edge by edge: gather, softmax in segments, sum in segments; any graph.

M nodes, E edges, H heads, d head width.  Memory: a few arrays [E, H, d] in float32 (float64 for
float64 inputs).  Both passes are written out, so that nothing of size [E, H, d] is kept between
them and every sum runs over a sorted segment: no atomics.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from resg.kernels.graph_attention.checks import AttentionInputs


@dataclass(frozen=True)
class Segments:
    """Three operations on rows sorted by segment; `pointers` `[M + 1]` are the segments' offsets.

    Attributes:
        sum: `([E, ...], pointers) -> [M, ...]`, 0 for an empty segment.
        max: `([E, ...], pointers) -> [M, ...]`, anything for an empty segment.
        expand: `([M, ...], pointers) -> [E, ...]`, each segment's row for each of its members.
    """

    sum: Callable[[Tensor, Tensor], Tensor]
    max: Callable[[Tensor, Tensor], Tensor]
    expand: Callable[[Tensor, Tensor], Tensor]

    def forward(self, inputs: AttentionInputs) -> tuple[Tensor, Tensor]:
        """Output `[M, H, d]` and log-sum-exp `[M, H]`."""
        graph, wide = inputs.graph, inputs.wide_dtype
        scores = self._scores(inputs, inputs.q.to(wide), inputs.k.to(wide))
        top = self.max(scores, graph.indptr)
        weights = (scores - self.expand(top, graph.indptr)).exp_()
        totals = self.sum(weights, graph.indptr)
        attention = weights / self.expand(totals, graph.indptr)
        values = inputs.v.to(wide).index_select(0, graph.indices)
        out = self.sum(values.mul_(attention[..., None]), graph.indptr)
        return out.to(inputs.q.dtype), totals.log_().add_(top)

    def backward(
        self, inputs: AttentionInputs, grad: Tensor, out: Tensor | None, lse: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Gradients of q, k, v and the edge bias; the output is not needed."""
        graph, wide = inputs.graph, inputs.wide_dtype
        grad_wide, query, key = grad.to(wide), inputs.q.to(wide), inputs.k.to(wide)
        scores = self._scores(inputs, query, key)
        attention = scores.sub_(self.expand(lse, graph.indptr)).exp_()  # [E, H]

        values = inputs.v.to(wide).index_select(0, graph.indices)
        grad_attention = values.mul_(self.expand(grad_wide, graph.indptr)).sum(-1)
        inner = self.sum(attention * grad_attention, graph.indptr)
        grad_scores = attention * (grad_attention - self.expand(inner, graph.indptr))

        def back(weights: Tensor, rows: Tensor, pointers: Tensor, nodes: Tensor) -> Tensor:
            chosen = rows.index_select(0, nodes)
            return self.sum(chosen.mul_(weights[..., None]), pointers)

        outgoing, order = graph.reverse_indptr, graph.reverse_edges
        grad_q = back(grad_scores, key, graph.indptr, graph.indices) * inputs.scale
        grad_k = back(grad_scores[order], query, outgoing, graph.reverse_indices) * inputs.scale
        grad_v = back(attention[order], grad_wide, outgoing, graph.reverse_indices)
        return (
            grad_q.to(inputs.q.dtype),
            grad_k.to(inputs.k.dtype),
            grad_v.to(inputs.v.dtype),
            grad_scores.to(inputs.edge_bias.dtype),
        )

    def _scores(self, inputs: AttentionInputs, query: Tensor, key: Tensor) -> Tensor:
        graph = inputs.graph
        products = key.index_select(0, graph.indices).mul_(self.expand(query, graph.indptr))
        return products.sum(-1).mul_(inputs.scale).add_(inputs.edge_bias)
