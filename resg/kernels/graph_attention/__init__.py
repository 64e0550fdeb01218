"""Attention of each node over its neighbours, for batches of small graphs: see README.md.

M nodes, E edges, H heads, d head width.
"""

from torch import Tensor

from resg.graphs.batch import GraphBatch
from resg.kernels.dispatch import is_eager
from resg.kernels.graph_attention.backends import BACKENDS
from resg.kernels.graph_attention.checks import AttentionInputs, check_inputs
from resg.kernels.graph_attention.operators import EagerAttention, attention, operator_arguments
from resg.kernels.graph_attention.reference import reference_attention

__all__ = ["BACKENDS", "graph_attention"]


def graph_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    graph: GraphBatch,
    edge_bias: Tensor,
    *,
    scale: float | None = None,
    backend: str = "auto",
) -> Tensor:
    """`out[t] = sum over edges (s, t) of softmax_s(scale * q[t] k[s] + edge_bias[(s, t)]) * v[s]`.

    Differentiable once in q, k, v and edge_bias. Scores and sums are float32 for half inputs
    (float64 for float64); results repeat bit for bit.

    Args:
        q: `[M, H, d]` queries, of float32, float16, bfloat16 or (not in Triton) float64.
        k: `[M, H, d]` keys.
        v: `[M, H, d]` values.
        graph: M nodes and E edges, on the same device.
        edge_bias: `[E, H]` added to the scores, edges sorted by (target, source); any float dtype.
        scale: factor of the scores; `d ** -0.5` unless given.
        backend: `reference`, `scatter`, `torch`, `triton`, or `auto`: RESG_KERNELS where the
            environment has it, else Triton where it can run, else torch.

    Returns:
        `[M, H, d]`; 0 for a node without incoming edges.

    Raises:
        ValueError: inputs do not fit each other, or the backend cannot run on them.

    Example:
        >>> import torch
        >>> graph = GraphBatch.from_edges(num_nodes=[2], edges=[(0, 1)])
        >>> q = k = v = torch.ones(2, 1, 16)
        >>> graph_attention(q, k, v, graph, torch.zeros(1, 1))[:, 0, 0]
        tensor([0., 1.])
    """
    check_inputs(q, k, v, graph, edge_bias)
    backend = BACKENDS.choose(backend, q.device.type, q.dtype, q.shape[2])
    scale = float(q.shape[2] ** -0.5) if scale is None else scale
    if backend != "reference" and is_eager(q, k, v, edge_bias):
        return EagerAttention.apply(q, k, v, edge_bias, graph, scale, backend)  # type: ignore[return-value] - `apply` is untyped
    inputs = AttentionInputs(q, k, v, edge_bias, graph, scale)
    if backend == "reference":
        return reference_attention(inputs)
    out, _ = attention(*operator_arguments(inputs, backend))
    return out
