"""The `triton` backend: dense tiles for half precision up to 64 nodes a graph, edges otherwise.

M nodes, E edges, H heads, d head width.  Launch shapes are fixed by the sizes (no autotuning at run
time), so that a result does not depend on what was timed before.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from resg.graphs.batch import GraphBatch
from resg.kernels.graph_attention.triton_backend.kernels import dense, edges
from resg.kernels.launcher import run_kernel


@dataclass(frozen=True)
class Launch:
    """How a kernel is launched.

    Attributes:
        block: columns of a tile (dense), or edges read at a time.
        warps: warps of a program.
        registers: most registers a thread may take, so that more programs run at once.
    """

    block: int
    warps: int
    registers: int | None = None

    def options(self) -> dict[str, int | None]:
        """As Triton calls them."""
        return {"num_warps": self.warps, "maxnreg": self.registers}


def uses_tiles(graph: GraphBatch, dtype: torch.dtype) -> bool:
    """Whether the dense kernels run.

    The matrix units have no float32 (TF32 is too coarse), and tiles of 64 x 64 on the ordinary
    units spill thousands of registers, so float32 goes edge by edge.
    """
    return graph.masks is not None and dtype != torch.float32


def dense_launch(nodes: int, width: int) -> Launch:
    """The launch of both dense kernels for tiles of `nodes` rows."""
    return Launch(
        block=min(max(16, _power_of_two(width)), 128),
        warps={16: 1, 32: 2, 64: 4}[nodes],
    )


def edge_launch(width: int) -> Launch:
    """The launch of all three edge kernels for heads of `width`."""
    return Launch(block=16, warps=2 if width > 128 else 1)


def forward(
    q: Tensor, k: Tensor, v: Tensor, edge_bias: Tensor, graph: GraphBatch, scale: float
) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp."""
    q, k, v, edge_bias = _rows(q), _rows(k), _rows(v), edge_bias.contiguous()
    num_nodes, num_heads, width = q.shape
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    lse = torch.empty((num_nodes, num_heads), dtype=torch.float32, device=q.device)
    arrays = (q, k, v, edge_bias, out, lse)
    numbers = (*_strides(q, k, v, out), scale, num_heads)
    if uses_tiles(graph, q.dtype):
        nodes = max(16, _power_of_two(graph.max_nodes))
        launch = dense_launch(nodes, width)
        run_kernel(
            dense.dense_forward,
            (graph.num_graphs * num_heads,),
            *(*arrays, graph.node_ptr, graph.indptr, graph.masks, *numbers),
            HEAD_DIM=width,
            NODES=nodes,
            BLOCK=launch.block,
            **launch.options(),
        )
    else:
        launch = edge_launch(width)
        run_kernel(
            edges.edges_forward,
            (num_nodes * num_heads,),
            *(*arrays, graph.indptr, graph.indices, *numbers),
            HEAD_DIM=width,
            WIDTH=_power_of_two(width),
            EDGES=launch.block,
            **launch.options(),
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
    """Gradients of q, k, v and the edge bias; the dense kernels do not read `out`."""
    grad, q, k, v, edge_bias = _rows(grad), _rows(q), _rows(k), _rows(v), edge_bias.contiguous()
    if uses_tiles(graph, q.dtype):
        return _dense_backward(grad, q, k, v, edge_bias, lse, graph, scale)
    if out is None:
        raise ValueError("the edge kernels need the forward output, and out is None.")
    return _edges_backward(grad, q, k, v, edge_bias, out.contiguous(), lse, graph, scale)


def _dense_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    edge_bias: Tensor,
    lse: Tensor,
    graph: GraphBatch,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    num_heads, width = q.shape[1:]
    grad_q, grad_k, grad_v, grad_bias = _empty_like(q, q, q, edge_bias)
    nodes = max(16, _power_of_two(graph.max_nodes))
    launch = dense_launch(nodes, width)
    run_kernel(
        dense.dense_backward,
        (graph.num_graphs * num_heads,),
        *(grad, q, k, v, edge_bias, lse, grad_q, grad_k, grad_v, grad_bias),
        *(graph.node_ptr, graph.indptr, graph.masks),
        *(*_strides(grad, q, k, v, grad_q), scale, num_heads),
        HEAD_DIM=width,
        NODES=nodes,
        BLOCK=launch.block,
        **launch.options(),
    )
    return grad_q, grad_k, grad_v, grad_bias


def _edges_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    edge_bias: Tensor,
    out: Tensor,
    lse: Tensor,
    graph: GraphBatch,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Targets first: they leave each edge's weight and score gradient `[E, H]` for the sources."""
    num_nodes, num_heads, width = q.shape
    grad_q, grad_k, grad_v = _empty_like(q, q, q)
    weights, grad_scores = (
        torch.empty(edge_bias.shape, dtype=torch.float32, device=q.device) for _ in range(2)
    )
    launch = edge_launch(width)
    run_kernel(
        edges.edges_backward_targets,
        (num_nodes * num_heads,),
        *(grad, q, k, v, edge_bias, out, lse, grad_q, weights, grad_scores),
        *(graph.indptr, graph.indices),
        *(*_strides(grad, q, k, v, out), scale, num_heads),
        HEAD_DIM=width,
        WIDTH=_power_of_two(width),
        EDGES=launch.block,
        **launch.options(),
    )
    run_kernel(
        edges.edges_backward_sources,
        (num_nodes * num_heads,),
        *(grad, q, weights, grad_scores, grad_k, grad_v),
        *(graph.reverse_indptr, graph.reverse_indices, graph.reverse_edges),
        *(*_strides(grad, q, grad_k), scale, num_heads),
        HEAD_DIM=width,
        WIDTH=_power_of_two(width),
        EDGES=launch.block,
        **launch.options(),
    )
    return grad_q, grad_k, grad_v, grad_scores.to(edge_bias.dtype)


def _rows(x: Tensor) -> Tensor:
    """The kernels take any strides of nodes and heads, but read a head's row as one piece."""
    return x if x.stride(2) == 1 else x.contiguous()


def _strides(*arrays: Tensor) -> list[int]:
    return [step for array in arrays for step in array.stride()[:2]]


def _empty_like(*arrays: Tensor) -> list[Tensor]:
    """Contiguous and unwritten, whatever the strides of the arrays."""
    return [torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in arrays]


def _power_of_two(number: int) -> int:
    """The least that is not below the number."""
    return 1 << (number - 1).bit_length() if number > 0 else 1
