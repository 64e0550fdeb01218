"""Graph attention as PyTorch operators: `resg::graph_attention` and its backward pass.

Registered with fake implementations and autograd, so that torch.compile and export see one opaque
operation. Eager calls on ordinary tensors take `EagerAttention`, the same two implementations in an
autograd function: the operators' own bookkeeping costs more than small batches take on a GPU.
"""

from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from resg.graphs.batch import GraphBatch
from resg.kernels.dispatch import on_device, without_autocast


@cache
def implementation(backend: str) -> Any:
    """The module with `forward` and `backward` of a backend, imported when first used."""
    return import_module(f"resg.kernels.graph_attention.{backend}_backend")


@torch.library.custom_op("resg::graph_attention", mutates_args=())
def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    edge_bias: Tensor,
    node_ptr: Tensor,
    indptr: Tensor,
    indices: Tensor,
    reverse_indptr: Tensor,
    reverse_indices: Tensor,
    reverse_edges: Tensor,
    masks: Tensor | None,
    max_nodes: int,
    scale: float,
    backend: str,
) -> tuple[Tensor, Tensor]:
    """Output `[M, H, d]` and log-sum-exp `[M, H]`."""
    graph = GraphBatch(
        node_ptr,
        indptr,
        indices,
        reverse_indptr,
        reverse_indices,
        reverse_edges,
        masks,
        max_nodes,
    )
    if q.numel() == 0:
        return torch.empty_like(q), _empty_lse(q)
    with on_device(q), without_autocast(q):
        return implementation(backend).forward(q, k, v, edge_bias, graph, scale)


@attention.register_fake
def _(q: Tensor, *others: Any) -> tuple[Tensor, Tensor]:
    return q.new_empty(q.shape), _empty_lse(q)


@torch.library.custom_op("resg::graph_attention_backward", mutates_args=())
def attention_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    edge_bias: Tensor,
    out: Tensor | None,
    lse: Tensor,
    node_ptr: Tensor,
    indptr: Tensor,
    indices: Tensor,
    reverse_indptr: Tensor,
    reverse_indices: Tensor,
    reverse_edges: Tensor,
    masks: Tensor | None,
    max_nodes: int,
    scale: float,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of q, k, v `[M, H, d]` and of the edge bias `[E, H]`."""
    graph = GraphBatch(
        node_ptr,
        indptr,
        indices,
        reverse_indptr,
        reverse_indices,
        reverse_edges,
        masks,
        max_nodes,
    )
    if q.numel() == 0:
        return tuple(x.new_zeros(x.shape) for x in (q, k, v, edge_bias))  # type: ignore[return-value]
    module = implementation(backend)
    with on_device(q), without_autocast(q):
        return module.backward(grad, q, k, v, edge_bias, out, lse, graph, scale)


@attention_backward.register_fake
def _(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, edge_bias: Tensor, *others: Any
) -> tuple[Tensor, ...]:
    return tuple(x.new_empty(x.shape) for x in (q, k, v, edge_bias))


def _empty_lse(q: Tensor) -> Tensor:
    wide = torch.promote_types(q.dtype, torch.float32)
    return q.new_empty(q.shape[:2], dtype=wide)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    """Only Triton's edge kernels read the output again."""
    q, k, v, edge_bias, *arrays, masks, max_nodes, scale, backend = inputs
    out, lse = output
    ctx.mark_non_differentiable(lse)
    ctx.save_for_backward(
        q, k, v, edge_bias, out if backend == "triton" else None, lse, *arrays, masks
    )
    ctx.settings = (max_nodes, scale, backend)


def _differentiate(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    gradients = attention_backward(grad, *ctx.saved_tensors, *ctx.settings)
    return (*gradients, *[None] * 10)


attention.register_autograd(_differentiate, setup_context=_keep)


class EagerAttention(torch.autograd.Function):
    """The operators' work, without their bookkeeping."""

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
        if q.numel() == 0:
            out, lse = torch.empty_like(q), _empty_lse(q)
        else:
            with on_device(q), without_autocast(q):
                out, lse = implementation(backend).forward(q, k, v, edge_bias, graph, scale)
        ctx.save_for_backward(q, k, v, edge_bias, out if backend == "triton" else None, lse)
        ctx.settings = graph, scale, backend
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override] - torch declares *args
        """Gradients of q, k, v and the edge bias."""
        q, k, v, edge_bias, out, lse = ctx.saved_tensors
        graph, scale, backend = ctx.settings
        if q.numel() == 0:
            return (*(x.new_zeros(x.shape) for x in (q, k, v, edge_bias)), None, None, None)
        module = implementation(backend)
        with on_device(q), without_autocast(q):
            gradients = module.backward(grad, q, k, v, edge_bias, out, lse, graph, scale)
        return (*gradients, None, None, None)
