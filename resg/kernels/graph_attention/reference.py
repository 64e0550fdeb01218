"""Graph attention as the formula says it; every other backend is tested against this.

M nodes, E edges, H heads, d head width.  q, k, v: [M, H, d];  edge_bias: [E, H];  out: [M, H, d]
"""

import torch
from torch import Tensor

from resg.kernels.graph_attention.checks import AttentionInputs


def reference_attention(inputs: AttentionInputs) -> Tensor:
    """`[M, H, d]`, each target's softmax over its incoming edges.

    Plain differentiable PyTorch, in float64 too: `gradcheck` and double backward work.
    """
    q, wide = inputs.q, inputs.wide_dtype
    sources, targets = inputs.graph.indices, inputs.graph.targets
    query, key, value = q.to(wide)[targets], inputs.k.to(wide)[sources], inputs.v.to(wide)[sources]
    scores = inputs.scale * (query * key).sum(-1) + inputs.edge_bias.to(wide)  # [E, H]

    rows = targets[:, None].expand_as(scores)
    top = scores.new_full(q.shape[:2], -torch.inf).scatter_reduce(0, rows, scores, "amax").detach()
    weights = (scores - top[targets]).exp()
    totals = scores.new_zeros(q.shape[:2]).index_add(0, targets, weights)
    attention = weights / totals[targets]  # [E, H], sums to 1 over each target's edges

    out = torch.zeros_like(q, dtype=wide).index_add(0, targets, attention[..., None] * value)
    return out.to(q.dtype)
