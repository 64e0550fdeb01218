"""Training on several processes: what each sees of the others, gradients included.

Every process encodes its share of a batch and computes the loss of the whole batch. A gathered
tensor hands its gradient back to the process that made it, summed over processes; since
DistributedDataParallel then takes the mean of the parameters' gradients, they are those of one
process with the joined batch.
"""

import os
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.nn.functional import all_gather as all_gather_with_gradients
from torch.nn import functional as F

from resg.models.matching import Encoded


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

    def share(self, rows: Tensor) -> Tensor:
        """This process's part of the rows of a batch."""
        return rows.tensor_split(self.count)[self.rank]


def join_processes(device: torch.device) -> Processes:
    """Join the group that torchrun announces in the environment; one process where it does not."""
    if "WORLD_SIZE" not in os.environ or int(os.environ["WORLD_SIZE"]) == 1:
        return Processes()
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Processes(dist.get_rank(), dist.get_world_size())


def leave_processes(processes: Processes) -> None:
    """Leave the group."""
    if processes.count > 1:
        dist.destroy_process_group()


def gather_rows(rows: Tensor, processes: Processes) -> Tensor:
    """Rows of all processes in order, with their gradients; processes may have different numbers.

    Args:
        rows: `[n, ...]`, n of this process.
        processes: who takes part.
    """
    if processes.count == 1:
        return rows
    counts = _gather_counts(len(rows), rows.device, processes)
    missing = max(counts) - len(rows)
    padded = F.pad(rows, (0, 0) * (rows.dim() - 1) + (0, missing)) if missing else rows
    parts = all_gather_with_gradients(padded.contiguous())
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


def gather_encoded(encoded: Encoded, processes: Processes) -> Encoded:
    """What all processes encoded, with gradients."""
    if processes.count == 1:
        return encoded
    lengths = gather_rows(encoded.ptr.diff(), processes)
    return Encoded(
        gather_rows(encoded.embeddings, processes),
        gather_rows(encoded.nodes, processes),
        F.pad(lengths.cumsum(0), (1, 0)),
    )


def _gather_counts(count: int, device: torch.device, processes: Processes) -> list[int]:
    own = torch.tensor([count], device=device)
    parts = [torch.empty_like(own) for _ in range(processes.count)]
    dist.all_gather(parts, own)
    return [int(part) for part in parts]
