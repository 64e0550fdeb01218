"""Training on several processes: tensors gathered from all of them, with their gradients.

Every process encodes its share of a batch and computes the loss of the whole batch. A gathered
tensor hands its gradient back to the process that made it, summed over processes; since
DistributedDataParallel then takes the mean of the parameters' gradients, they are those of one
process with the joined batch.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Processes:
    """This process among those that torchrun started.

    Attributes:
        rank: index of this process.
        count: how many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0


@contextmanager
def joined_processes(device: torch.device) -> Iterator[Processes]:
    """The process group that torchrun sets up in the environment; one process without torchrun.

    A job inside another, such as the run of one of several seeds, stays in the group that is joined
    already: torchrun keeps the addresses of the first group, so a second one could not connect.
    """
    if dist.is_initialized():
        yield Processes(dist.get_rank(), dist.get_world_size())
    elif int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes()
    else:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        try:
            yield Processes(dist.get_rank(), dist.get_world_size())
        finally:
            dist.destroy_process_group()


def gather_rows(rows: Tensor, counts: Sequence[int]) -> Tensor:
    """Rows of all processes in order, with their gradients.

    Args:
        rows: `[n, ...]`, n of this process.
        counts: the rows of each process.
    """
    if len(counts) == 1:
        return rows
    missing = max(counts) - len(rows)
    padded = F.pad(rows, (0, 0) * (rows.dim() - 1) + (0, missing)) if missing else rows
    parts: Tensor = _Gather.apply(padded)  # type: ignore[assignment] - `apply` is untyped
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


class _Gather(torch.autograd.Function):
    """`[n, ...]` of each of P processes to `[P, n, ...]`; their gradients come back summed."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = rows.new_empty((dist.get_world_size(), *rows.shape))
        dist.all_gather(list(parts.unbind()), rows.contiguous())
        return parts

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        grad = grad_outputs[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(grad)
        return grad[dist.get_rank()]
