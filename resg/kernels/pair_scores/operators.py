"""Pair scores as PyTorch operators: `resg::pair_scores` and its backward pass.

They have fake implementations and autograd, so torch.compile and export see one opaque operation.
Eager calls on ordinary tensors take `EagerPairScores`, an autograd function around the same two
passes: it avoids the operators' bookkeeping, and its backward pass reuses the captions as the
forward pass packed them.
"""

from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from resg.kernels.dispatch import backend_module, on_device, without_autocast
from resg.kernels.pair_scores.checks import PairInputs, working_dtype
from resg.kernels.pair_scores.settings import PairSettings

NODES = "Tensor regions, Tensor words, Tensor region_ptr, Tensor word_ptr"
REST = (
    "str direction, float[] temperatures, str normalise, str pooling, float lambda_lse, "
    "SymInt tile_bytes, str backend"
)
"""The settings in their plain values (`PairSettings.values`), since a schema takes no other."""


class Passes(Protocol):
    """Both passes over one call's nodes; each backend's module has a class of this name."""

    inputs: PairInputs

    def __init__(self, inputs: PairInputs) -> None: ...

    def forward(self) -> Tensor:
        """Scores `[images, captions]`."""
        ...

    def backward(self, grad: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients for regions and words from that of the scores."""
        ...


def make_passes(inputs: PairInputs, backend: str) -> Passes:
    """The backend's passes over one call's nodes."""
    return backend_module("pair_scores", backend).Passes(inputs)


@torch.library.custom_op(
    "resg::pair_scores", mutates_args=(), schema=f"({NODES}, {REST}) -> Tensor"
)
def pair_scores_operator(*arguments: Any) -> Tensor:
    """Scores `[images, captions]`; see `resg.kernels.pair_scores.pair_scores`."""
    inputs, backend = _inputs(*arguments)
    with on_device(inputs.regions), without_autocast(inputs.regions):
        return make_passes(inputs, backend).forward()


@pair_scores_operator.register_fake
def _(regions: Tensor, words: Tensor, region_ptr: Tensor, word_ptr: Tensor, *_: Any) -> Tensor:
    shape = region_ptr.shape[0] - 1, word_ptr.shape[0] - 1
    return regions.new_empty(shape, dtype=working_dtype(regions))


@torch.library.custom_op(
    "resg::pair_scores_backward",
    mutates_args=(),
    schema=f"(Tensor grad, {NODES}, {REST}) -> (Tensor, Tensor)",
)
def pair_scores_backward_operator(grad: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
    """Gradients for regions and words; logits and attention are computed again, tile by tile."""
    inputs, backend = _inputs(*arguments)
    with on_device(inputs.regions), without_autocast(inputs.regions):
        return make_passes(inputs, backend).backward(grad)


@pair_scores_backward_operator.register_fake
def _(grad: Tensor, regions: Tensor, words: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return regions.new_empty(regions.shape), words.new_empty(words.shape)


def _inputs(
    regions: Tensor, words: Tensor, region_ptr: Tensor, word_ptr: Tensor, *rest: Any
) -> tuple[PairInputs, str]:
    """The operators' arguments in the order of `NODES` and `REST`: inputs and backend."""
    *values, tile_bytes, backend = rest
    settings = PairSettings.from_values(*values)
    inputs = PairInputs.checked(regions, words, region_ptr, word_ptr, settings, tile_bytes)
    return inputs, backend


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:4])
    ctx.settings = inputs[4:]


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    gradients = pair_scores_backward_operator(grad.contiguous(), *ctx.saved_tensors, *ctx.settings)
    return (*gradients, *[None] * 9)


pair_scores_operator.register_autograd(_differentiate, setup_context=_save)


class EagerPairScores(torch.autograd.Function):
    """The operators' work without their bookkeeping."""

    @staticmethod
    def forward(  # type: ignore[override] - torch declares *args
        ctx: Any, regions: Tensor, words: Tensor, inputs: PairInputs, backend: str
    ) -> Tensor:
        """Scores `[images, captions]`; the nodes are those of the inputs, for autograd to see."""
        with on_device(regions), without_autocast(regions):
            passes = make_passes(inputs, backend)
            scores = passes.forward()
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(regions, words)
            ctx.passes = passes
        return scores

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override] - torch declares *args
        """Gradients for regions and words."""
        regions, _ = ctx.saved_tensors  # raises where one was changed in place since
        with on_device(regions), without_autocast(regions):
            return (*ctx.passes.backward(grad.contiguous()), None, None)
