"""Graph attention as PyTorch operators: `resg::graph_attention` and its backward pass.

They have fake implementations and autograd, so torch.compile and export see one opaque operation.
Eager calls on ordinary tensors take `EagerAttention`, an autograd function around the same two
passes: the operators' own bookkeeping takes longer than a small batch does on a GPU.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from resg.graphs.batch import GraphBatch
from resg.kernels.dispatch import backend_module, on_device, without_autocast
from resg.kernels.graph_attention.checks import AttentionInputs

KERNEL = "graph_attention"
Gradients = tuple[Tensor, Tensor, Tensor, Tensor]
"""Of q, k and v `[M, H, d]` and of the edge bias `[E, H]`."""

ROWS = "Tensor q, Tensor k, Tensor v, Tensor edge_bias"
REST = (
    "Tensor node_ptr, Tensor indptr, Tensor indices, Tensor reverse_indptr, "
    "Tensor reverse_indices, Tensor reverse_edges, Tensor? masks, SymInt max_nodes, "
    "float scale, str backend"
)
"""A GraphBatch in its plain values, since a schema takes no other, then scale and backend."""


def run_forward(inputs: AttentionInputs, backend: str) -> tuple[Tensor, Tensor]:
    """Output `[M, H, d]` and log-sum-exp `[M, H]`."""
    q = inputs.q
    if q.numel() == 0:
        return torch.empty_like(q), _empty_lse(inputs)
    with on_device(q), without_autocast(q):
        return backend_module(KERNEL, backend).forward(inputs)


def run_backward(
    inputs: AttentionInputs, grad: Tensor, out: Tensor | None, lse: Tensor, backend: str
) -> Gradients:
    """Gradients of all inputs; `out` is None for the backends that do not read it."""
    q = inputs.q
    if q.numel() == 0:
        return _like_inputs(inputs, torch.Tensor.new_zeros)
    with on_device(q), without_autocast(q):
        return backend_module(KERNEL, backend).backward(inputs, grad, out, lse)


def reads_output(backend: str) -> bool:
    """Whether the backward pass needs the output: only Triton's edge kernels do."""
    return backend == "triton"


@torch.library.custom_op(
    "resg::graph_attention", mutates_args=(), schema=f"({ROWS}, {REST}) -> (Tensor, Tensor)"
)
def attention(*arguments: Any) -> tuple[Tensor, Tensor]:
    """Output `[M, H, d]` and log-sum-exp `[M, H]`."""
    return run_forward(_inputs(*arguments[:-1]), arguments[-1])


@attention.register_fake
def _(*arguments: Any) -> tuple[Tensor, Tensor]:
    inputs = _inputs(*arguments[:-1])
    return inputs.q.new_empty(inputs.q.shape), _empty_lse(inputs)


@torch.library.custom_op(
    "resg::graph_attention_backward",
    mutates_args=(),
    schema=f"(Tensor grad, Tensor? out, Tensor lse, {ROWS}, {REST}) "
    "-> (Tensor, Tensor, Tensor, Tensor)",
)
def attention_backward(grad: Tensor, out: Tensor | None, lse: Tensor, *arguments: Any) -> Gradients:
    """Gradients of q, k, v `[M, H, d]` and of the edge bias `[E, H]`."""
    return run_backward(_inputs(*arguments[:-1]), grad, out, lse, arguments[-1])


@attention_backward.register_fake
def _(grad: Tensor, out: Tensor | None, lse: Tensor, *arguments: Any) -> Gradients:
    return _like_inputs(_inputs(*arguments[:-1]), torch.Tensor.new_empty)


def operator_arguments(inputs: AttentionInputs, backend: str) -> tuple[Any, ...]:
    """The inputs as `ROWS` and `REST` list them."""
    graph = inputs.graph
    return (
        *(inputs.q, inputs.k, inputs.v, inputs.edge_bias),
        *(graph.node_ptr, graph.indptr, graph.indices),
        *(graph.reverse_indptr, graph.reverse_indices, graph.reverse_edges),
        *(graph.masks, graph.max_nodes, inputs.scale, backend),
    )


def _inputs(
    q: Tensor, k: Tensor, v: Tensor, edge_bias: Tensor, *graph_and_scale: Any
) -> AttentionInputs:
    """The inverse of `operator_arguments`, without the backend."""
    *graph, scale = graph_and_scale
    return AttentionInputs(q, k, v, edge_bias, GraphBatch(*graph), scale)


def _empty_lse(inputs: AttentionInputs) -> Tensor:
    return inputs.q.new_empty(inputs.q.shape[:2], dtype=inputs.wide_dtype)


def _like_inputs(inputs: AttentionInputs, new: Any) -> Gradients:
    q, k, v, edge_bias = (new(x, x.shape) for x in (inputs.q, inputs.k, inputs.v, inputs.edge_bias))
    return q, k, v, edge_bias


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, max_nodes, scale, backend = inputs
    out, lse = output
    ctx.mark_non_differentiable(lse)
    ctx.save_for_backward(out if reads_output(backend) else None, lse, *tensors)
    ctx.settings = max_nodes, scale, backend


def _differentiate(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    gradients = attention_backward(grad, *ctx.saved_tensors, *ctx.settings)
    return (*gradients, *[None] * 10)


attention.register_autograd(_differentiate, setup_context=_save)


class EagerAttention(torch.autograd.Function):
    """The operators' work without their bookkeeping."""

    @staticmethod
    def forward(  # type: ignore[override] - torch declares *args
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        edge_bias: Tensor,
        graph: GraphBatch,
        scale: float,
        backend: str,
    ) -> Tensor:
        """Output `[M, H, d]`."""
        inputs = AttentionInputs(q, k, v, edge_bias, graph, scale)
        out, lse = run_forward(inputs, backend)
        ctx.save_for_backward(q, k, v, edge_bias, out if reads_output(backend) else None, lse)
        ctx.settings = graph, scale, backend
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override] - torch declares *args
        """Gradients of q, k, v and the edge bias."""
        q, k, v, edge_bias, out, lse = ctx.saved_tensors
        graph, scale, backend = ctx.settings
        inputs = AttentionInputs(q, k, v, edge_bias, graph, scale)
        return (*run_backward(inputs, grad, out, lse, backend), None, None, None)
