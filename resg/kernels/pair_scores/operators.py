"""Pair scores as an operator of PyTorch: seen by autograd, torch.compile and opcheck.

The schema takes plain values only, so settings travel as their parts (`PairSettings.to_list`).
Eager calls on ordinary tensors take `EagerPairScores`, an autograd function around the same two
passes: it spares the operators' bookkeeping, and the backward pass finds the captions as the
forward pass packed them.
"""

from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from resg.kernels.dispatch import on_device, without_autocast
from resg.kernels.pair_scores.checks import check_pointer
from resg.kernels.pair_scores.settings import PairSettings
from resg.kernels.pair_scores.torch_backend import ComposedPasses, working_dtype


@torch.library.custom_op("resg::pair_scores", mutates_args=())
def pair_scores_operator(
    regions: Tensor,
    words: Tensor,
    region_ptr: Tensor,
    word_ptr: Tensor,
    direction: str,
    temperatures: list[float],
    normalise: str,
    pooling: str,
    lambda_lse: float,
    tile_bytes: int,
    backend: str,
) -> Tensor:
    """Scores `[images, captions]`; see `resg.kernels.pair_scores.pair_scores`."""
    settings = PairSettings.from_list(direction, temperatures, normalise, pooling, lambda_lse)
    with on_device(regions), without_autocast(regions):
        passes = _passes(regions, words, region_ptr, word_ptr, settings, tile_bytes, backend)
        return passes.forward()


@pair_scores_operator.register_fake
def _(regions: Tensor, words: Tensor, region_ptr: Tensor, word_ptr: Tensor, *_: Any) -> Tensor:
    shape = region_ptr.shape[0] - 1, word_ptr.shape[0] - 1
    return regions.new_empty(shape, dtype=working_dtype(regions))


@torch.library.custom_op("resg::pair_scores_backward", mutates_args=())
def pair_scores_backward_operator(
    grad: Tensor,
    regions: Tensor,
    words: Tensor,
    region_ptr: Tensor,
    word_ptr: Tensor,
    direction: str,
    temperatures: list[float],
    normalise: str,
    pooling: str,
    lambda_lse: float,
    tile_bytes: int,
    backend: str,
) -> tuple[Tensor, Tensor]:
    """Gradients for regions and words; logits and attention are computed again, tile by tile."""
    settings = PairSettings.from_list(direction, temperatures, normalise, pooling, lambda_lse)
    with on_device(regions), without_autocast(regions):
        passes = _passes(regions, words, region_ptr, word_ptr, settings, tile_bytes, backend)
        return passes.backward(grad)


@pair_scores_backward_operator.register_fake
def _(grad: Tensor, regions: Tensor, words: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return regions.new_empty(regions.shape), words.new_empty(words.shape)


class Passes(Protocol):
    """Both passes over one call's nodes."""

    def forward(self) -> Tensor:
        """Scores `[images, captions]`."""
        ...

    def backward(self, grad: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients for regions and words from that of the scores."""
        ...


def _passes(
    regions: Tensor,
    words: Tensor,
    region_ptr: Tensor,
    word_ptr: Tensor,
    settings: PairSettings,
    tile_bytes: int,
    backend: str,
) -> Passes:
    """The backend's passes, after a look at the pointers."""
    region_ptr = region_ptr.to("cpu", torch.int64)
    word_ptr = word_ptr.to("cpu", torch.int64)
    check_pointer("region_ptr", region_ptr, regions)
    check_pointer("word_ptr", word_ptr, words)
    if backend == "triton":
        from resg.kernels.pair_scores.triton_backend import PairGradient  # Triton is optional

        return PairGradient(regions, words, region_ptr, word_ptr, settings, tile_bytes)
    return ComposedPasses(regions, words, region_ptr, word_ptr, settings, tile_bytes)


def _save_inputs(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:4])
    ctx.settings = inputs[4:]


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    grad_regions, grad_words = pair_scores_backward_operator(
        grad.contiguous(), *ctx.saved_tensors, *ctx.settings
    )
    return (grad_regions, grad_words, *[None] * 9)


pair_scores_operator.register_autograd(_backward, setup_context=_save_inputs)


class EagerPairScores(torch.autograd.Function):
    """The operators' work, without their bookkeeping."""

    @staticmethod
    def forward(  # type: ignore[override] - torch declares *args
        ctx: Any,
        regions: Tensor,
        words: Tensor,
        region_ptr: Tensor,
        word_ptr: Tensor,
        settings: PairSettings,
        tile_bytes: int,
        backend: str,
    ) -> Tensor:
        """Scores `[images, captions]`."""
        with on_device(regions), without_autocast(regions):
            passes = _passes(regions, words, region_ptr, word_ptr, settings, tile_bytes, backend)
            scores = passes.forward()
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(regions, words)
            ctx.passes = passes
        return scores

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override] - torch declares *args
        """Gradients for regions and words."""
        regions, _ = ctx.saved_tensors  # says so where one was changed in place since
        with on_device(regions), without_autocast(regions):
            return (*ctx.passes.backward(grad.contiguous()), *[None] * 5)
