"""Training on several processes: what each sees of the others, gradients included.

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

from resg.models.similarity import Encoded


@dataclass(frozen=True)
class Processes:
    """This process among those that torchrun started.

    Attributes:
        rank: number of this process.
        count: how many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def shares(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Each process's part of the rows of a batch."""
        return rows.tensor_split(self.count)


@contextmanager
def joined_processes(device: torch.device) -> Iterator[Processes]:
    """The group that torchrun announces in the environment; one process where it does not.

    A job inside another, such as the run of one of several seeds, stays in the group that is joined
    already: torchrun keeps the addresses of the first group, where a second one finds nobody.
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


def gather_encoded(encoded: Encoded, nodes: Sequence[Tensor]) -> Encoded:
    """What all processes encoded, with gradients.

    Args:
        encoded: by this process.
        nodes: for each process, how many nodes each of its items has, on the host.
    """
    if len(nodes) == 1:
        return encoded
    return Encoded(
        gather_rows(encoded.embeddings, [len(counts) for counts in nodes]),
        gather_rows(encoded.nodes, [int(counts.sum()) for counts in nodes]),
        F.pad(torch.cat([*nodes]).cumsum(0), (1, 0)),
    )


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
