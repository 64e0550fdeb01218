"""The `triton` backend: launches the dense kernels up to 64 nodes a graph, the edge kernels above.

M nodes, E edges, H heads, d head width.  Launch shapes are fixed by the sizes (no autotuning at run
time), so that a result does not depend on what was timed before.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from triton import next_power_of_2

from resg.graphs.batch import GraphBatch
from resg.kernels.graph_attention import dense_kernels, edge_kernels


@dataclass(frozen=True)
class DenseLaunch:
    """How a dense kernel is launched.

    Attributes:
        block: columns of a tile; the head's width is walked in steps of it.
        warps: warps of a program.
    """

    block: int
    warps: int


@dataclass(frozen=True)
class EdgeLaunch:
    """How an edge kernel is launched.

    Attributes:
        edges: edges read at a time.
        warps: warps of a program.
    """

    edges: int
    warps: int


def dense_launch(nodes: int, width: int, dtype: torch.dtype) -> DenseLaunch:
    """The launch for tiles of `nodes` rows; float32 tiles take twice the memory of half ones."""
    widest = 64 if dtype == torch.float32 else 128
    return DenseLaunch(
        block=min(max(16, next_power_of_2(width)), widest),
        warps={16: 1, 32: 2, 64: 4}[nodes],
    )


def edge_launch(width: int) -> EdgeLaunch:
    """The launch for rows of `width`."""
    return EdgeLaunch(edges=16, warps=2 if width > 128 else 1)


def forward(
    q: Tensor, k: Tensor, v: Tensor, edge_bias: Tensor, graph: GraphBatch, scale: float
) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp."""
    q, k, v, edge_bias = _rows(q), _rows(k), _rows(v), edge_bias.contiguous()
    num_nodes, num_heads, width = q.shape
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    lse = torch.empty((num_nodes, num_heads), dtype=torch.float32, device=q.device)
    strides = [step for x in (q, k, v, out) for step in x.stride()[:2]]
    with _on(q.device):
        if graph.masks is not None:
            nodes = max(16, next_power_of_2(graph.max_nodes))
            launch = dense_launch(nodes, width, q.dtype)
            dense_kernels.dense_forward[(graph.num_graphs * num_heads,)](
                *(q, k, v, edge_bias, out, lse),
                *(graph.node_ptr, graph.indptr, graph.masks),
                *strides,
                *(scale, num_heads),
                HEAD_DIM=width,
                NODES=nodes,
                BLOCK=launch.block,
                num_warps=launch.warps,
            )
        else:
            launch = edge_launch(width)
            edge_kernels.edges_forward[(num_nodes * num_heads,)](
                *(q, k, v, edge_bias, out, lse),
                *(graph.indptr, graph.indices),
                *strides,
                *(scale, num_heads),
                HEAD_DIM=width,
                WIDTH=next_power_of_2(width),
                EDGES=launch.edges,
                num_warps=launch.warps,
            )
    return out, lse


def backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    edge_bias: Tensor,
    out: Tensor | None,
    lse: Tensor,
    graph: GraphBatch,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of q, k, v and the edge bias; `out` is needed for large graphs only."""
    grad, q, k, v, edge_bias = _rows(grad), _rows(q), _rows(k), _rows(v), edge_bias.contiguous()
    grads = [torch.empty(q.shape, dtype=q.dtype, device=q.device) for _ in range(3)]
    with _on(q.device):
        if graph.masks is not None:
            grad_bias = _dense_backward(grad, q, k, v, edge_bias, lse, grads, graph, scale)
        else:
            assert out is not None
            grad_bias = _edges_backward(grad, q, k, v, edge_bias, out, lse, grads, graph, scale)
    return grads[0], grads[1], grads[2], grad_bias


def _dense_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    edge_bias: Tensor,
    lse: Tensor,
    grads: list[Tensor],
    graph: GraphBatch,
    scale: float,
) -> Tensor:
    num_heads, width = q.shape[1:]
    grad_bias = torch.empty(edge_bias.shape, dtype=edge_bias.dtype, device=q.device)
    nodes = max(16, next_power_of_2(graph.max_nodes))
    launch = dense_launch(nodes, width, q.dtype)
    dense_kernels.dense_backward[(graph.num_graphs * num_heads,)](
        *(grad, q, k, v, edge_bias, lse, *grads, grad_bias),
        *(graph.node_ptr, graph.indptr, graph.masks),
        *(step for x in (grad, q, k, v, grads[0]) for step in x.stride()[:2]),
        *(scale, num_heads),
        HEAD_DIM=width,
        NODES=nodes,
        BLOCK=launch.block,
        num_warps=launch.warps,
    )
    return grad_bias


def _edges_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    edge_bias: Tensor,
    out: Tensor,
    lse: Tensor,
    grads: list[Tensor],
    graph: GraphBatch,
    scale: float,
) -> Tensor:
    """Targets first: they leave each edge's weight and score gradient `[E, H]` for the sources."""
    num_nodes, num_heads, width = q.shape
    weights, grad_scores = (
        torch.empty(edge_bias.shape, dtype=torch.float32, device=q.device) for _ in range(2)
    )
    grad_q, grad_k, grad_v = grads
    launch = edge_launch(width)
    edge_kernels.edges_backward_targets[(num_nodes * num_heads,)](
        *(grad, q, k, v, edge_bias, out, lse, grad_q, weights, grad_scores),
        *(graph.indptr, graph.indices),
        *(step for x in (grad, q, k, v, grad_q) for step in x.stride()[:2]),
        *(scale, num_heads),
        HEAD_DIM=width,
        WIDTH=next_power_of_2(width),
        EDGES=launch.edges,
        num_warps=launch.warps,
    )
    edge_kernels.edges_backward_sources[(num_nodes * num_heads,)](
        *(grad, q, weights, grad_scores, grad_k, grad_v),
        *(graph.reverse_indptr, graph.reverse_indices, graph.reverse_edges),
        *(step for x in (grad, q, grad_k) for step in x.stride()[:2]),
        *(scale, num_heads),
        HEAD_DIM=width,
        WIDTH=next_power_of_2(width),
        EDGES=launch.edges,
        num_warps=launch.warps,
    )
    return grad_scores.to(edge_bias.dtype)


def _rows(x: Tensor) -> Tensor:
    """The kernels take any strides of nodes and heads, but read a head's row as one piece."""
    return x if x.stride(2) == 1 else x.contiguous()


def _on(device: torch.device) -> AbstractContextManager[object]:
    """Triton launches on the current device; in its interpreter there is none."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
