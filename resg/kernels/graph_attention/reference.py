"""Graph attention as the formula says it; every other backend is tested against this.

M nodes, E edges, H heads, d head width.  q, k, v: [M, H, d];  edge_bias: [E, H];  out: [M, H, d]
"""

import torch
from torch import Tensor

from resg.graphs.batch import GraphBatch


def reference(
    q: Tensor, k: Tensor, v: Tensor, graph: GraphBatch, edge_bias: Tensor, scale: float
) -> Tensor:
    """Each target's softmax over its incoming edges, in the inputs' precision (half: float32).

    Plain differentiable PyTorch, in float64 too: `gradcheck` and double backward work.
    """
    wide = torch.promote_types(q.dtype, torch.float32)
    sources, targets = graph.indices, graph.targets
    query, key, value = q.to(wide)[targets], k.to(wide)[sources], v.to(wide)[sources]
    scores = scale * (query * key).sum(-1) + edge_bias.to(wide)  # [E, H]

    rows = targets[:, None].expand_as(scores)
    top = scores.new_full(q.shape[:2], -torch.inf).scatter_reduce(0, rows, scores, "amax").detach()
    weights = (scores - top[targets]).exp()
    totals = scores.new_zeros(q.shape[:2]).index_add(0, targets, weights)
    attention = weights / totals[targets]  # [E, H], sums to 1 over each target's edges

    out = torch.zeros_like(q, dtype=wide).index_add(0, targets, attention[..., None] * value)
    return out.to(q.dtype)
