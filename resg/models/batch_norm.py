"""Batch norm over the valid rows of a ragged or padded batch, of all processes.

M rows, d width.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from resg.graphs.ragged import Layout

EPSILON = 1e-5
MOMENTUM = 0.1


class RowBatchNorm(nn.Module):
    """Batch norm (Ioffe and Szegedy 2015) of rows; padding rows count in no statistic.

    In training rows are normalised by the mean and variance of the batch, over all processes, which
    are taken into running ones; in evaluation by the running ones, so that an item's result never
    depends on what it is encoded with. Statistics are float32, and of fixed shape: a step can be
    captured.

    Args:
        width: d.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, rows_Md: Tensor, layout: Layout) -> Tensor:
        """`[M, d]` to `[M, d]` float32."""
        with torch.autocast(rows_Md.device.type, enabled=False):
            rows_Md = rows_Md.float()
            mean, variance = self.running_mean, self.running_var
            if self.training:
                mean, variance = self._batch_statistics(rows_Md, layout)
            return (rows_Md - mean) * (variance + EPSILON).rsqrt() * self.weight + self.bias

    def _batch_statistics(self, rows_Md: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
        is_valid_M1 = rows_Md.new_ones((len(rows_Md), 1))
        if layout.is_padded:
            is_valid_M1 = layout.is_row.flatten()[:, None].to(rows_Md.dtype)
        count = _over_processes(is_valid_M1.sum()).clamp_min(1)
        mean = _over_processes((rows_Md * is_valid_M1).sum(0)) / count
        squares = _over_processes(((rows_Md - mean).square() * is_valid_M1).sum(0))
        with torch.no_grad():
            unbiased = squares / (count - 1).clamp_min(1)
            self.running_mean.lerp_(mean, MOMENTUM)
            self.running_var.lerp_(unbiased, MOMENTUM)
        return mean, squares / count


def _over_processes(total: Tensor) -> Tensor:
    """The sum of a tensor over all processes, with its gradient."""
    if not dist.is_initialized():
        return total
    return _Sum.apply(total)  # type: ignore[return-value] - `apply` is untyped


class _Sum(torch.autograd.Function):
    """A sum over processes; each process's share gets the gradients of all of them."""

    @staticmethod
    def forward(ctx: Any, total: Tensor) -> Tensor:
        summed = total.clone()
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        gradient = grad_outputs[0].clone()
        dist.all_reduce(gradient)
        return gradient
