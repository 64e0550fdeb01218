"""The `triton` backend: dense tiles for half precision and graphs of up to 64 nodes, else edges.

M nodes, E edges, H heads, d head width.  Launch shapes follow from the sizes alone (no autotuning
at run time), so that a result does not depend on what was timed before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from resg.graphs.batch import GraphBatch
from resg.kernels.graph_attention.checks import AttentionInputs
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


def forward(inputs: AttentionInputs) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp."""
    inputs = _with_contiguous_rows(inputs)
    q, num_heads = inputs.q, inputs.q.shape[1]
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    lse = torch.empty(q.shape[:2], dtype=torch.float32, device=q.device)
    arrays = (q, inputs.k, inputs.v, inputs.edge_bias, out, lse)
    numbers = (*_strides(q, inputs.k, inputs.v, out), inputs.scale, num_heads)
    if uses_tiles(inputs.graph, q.dtype):
        _run_dense(dense.dense_forward, inputs, arrays, numbers)
    else:
        pointers = inputs.graph.indptr, inputs.graph.indices
        _run_edges(edges.edges_forward, inputs, (*arrays, *pointers), numbers)
    return out, lse


def backward(
    inputs: AttentionInputs, grad: Tensor, out: Tensor | None, lse: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of q, k, v and the edge bias; the dense kernels do not read `out`."""
    inputs, grad = _with_contiguous_rows(inputs), _contiguous_rows(grad)
    if uses_tiles(inputs.graph, inputs.q.dtype):
        return _dense_backward(inputs, grad, lse)
    if out is None:
        raise ValueError("the edge kernels need the forward output, and out is None.")
    return _edges_backward(inputs, grad, out.contiguous(), lse)


def _dense_backward(
    inputs: AttentionInputs, grad: Tensor, lse: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    q, k, v, edge_bias = inputs.q, inputs.k, inputs.v, inputs.edge_bias
    gradients = grad_q, grad_k, grad_v, grad_bias = _empty_like(q, q, q, edge_bias)
    numbers = (*_strides(grad, q, k, v, grad_q), inputs.scale, q.shape[1])
    arrays = (grad, q, k, v, edge_bias, lse, *gradients)
    _run_dense(dense.dense_backward, inputs, arrays, numbers)
    return grad_q, grad_k, grad_v, grad_bias


def _edges_backward(
    inputs: AttentionInputs, grad: Tensor, out: Tensor, lse: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Targets first: they leave each edge's weight and score gradient `[E, H]` for the sources."""
    q, k, v, edge_bias, graph = inputs.q, inputs.k, inputs.v, inputs.edge_bias, inputs.graph
    grad_q, grad_k, grad_v = _empty_like(q, q, q)
    weights, grad_scores = (
        torch.empty(edge_bias.shape, dtype=torch.float32, device=q.device) for _ in range(2)
    )
    arrays = (grad, q, k, v, edge_bias, out, lse, grad_q, weights, grad_scores)
    numbers = (*_strides(grad, q, k, v, out), inputs.scale, q.shape[1])
    incoming = graph.indptr, graph.indices
    _run_edges(edges.edges_backward_targets, inputs, (*arrays, *incoming), numbers)
    arrays = (grad, q, weights, grad_scores, grad_k, grad_v)
    numbers = (*_strides(grad, q, grad_k), inputs.scale, q.shape[1])
    outgoing = graph.reverse_indptr, graph.reverse_indices, graph.reverse_edges
    _run_edges(edges.edges_backward_sources, inputs, (*arrays, *outgoing), numbers)
    return grad_q, grad_k, grad_v, grad_scores.to(edge_bias.dtype)


def _run_dense(
    kernel: Any, inputs: AttentionInputs, arrays: Sequence[Tensor], numbers: Sequence[float]
) -> None:
    """Launch a dense kernel: one program per graph and head."""
    graph, (_, num_heads, width) = inputs.graph, inputs.q.shape
    nodes = max(16, _power_of_two(graph.max_nodes))
    launch = dense_launch(nodes, width)
    run_kernel(
        kernel,
        (graph.num_graphs * num_heads,),
        *(*arrays, graph.node_ptr, graph.indptr, graph.masks, *numbers),
        HEAD_DIM=width,
        NODES=nodes,
        BLOCK=launch.block,
        **launch.options(),
    )


def _run_edges(
    kernel: Any, inputs: AttentionInputs, arrays: Sequence[Tensor], numbers: Sequence[float]
) -> None:
    """Launch an edge kernel: one program per node and head."""
    num_nodes, num_heads, width = inputs.q.shape
    launch = edge_launch(width)
    run_kernel(
        kernel,
        (num_nodes * num_heads,),
        *(*arrays, *numbers),
        HEAD_DIM=width,
        WIDTH=_power_of_two(width),
        EDGES=launch.block,
        **launch.options(),
    )


def _with_contiguous_rows(inputs: AttentionInputs) -> AttentionInputs:
    q, k, v = (_contiguous_rows(x) for x in (inputs.q, inputs.k, inputs.v))
    bias = inputs.edge_bias.contiguous()
    return AttentionInputs(q, k, v, bias, inputs.graph, inputs.scale)


def _contiguous_rows(x: Tensor) -> Tensor:
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
