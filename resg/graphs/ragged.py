"""Ragged rows, stored flat with offsets, to padded tensors and back.

M rows in all, N groups, L the largest group.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the rows of N groups lie: flat, padded, and step by step as a recurrent network reads.

    Made on the host, once a batch: nothing that works with it then asks the GPU for a count.

    Attributes:
        host_ptr: `[N+1]` offsets of the groups, on the host.
        longest: L.
        step_sizes: `[L]` groups that have a row at each step, on the host.
        ptr: `[N+1]` offsets of the groups.
        group: `[M]` the group of each row.
        place: `[M]` where each row lies among the `N * L` of the padded groups.
        by_step: `[M]` rows in the order of a packed sequence: the groups' first rows, their second
            rows, and so on, longer groups first.
        step_place: `[M]` where each row lies in that order.
        mirror: `[M]` rows with every group turned round, its last row first.
    """

    host_ptr: NDArray[np.int64]
    longest: int
    step_sizes: NDArray[np.int64]
    ptr: Tensor
    group: Tensor
    place: Tensor
    by_step: Tensor
    step_place: Tensor
    mirror: Tensor

    @classmethod
    def of(cls, ptr: Tensor) -> "Layout":
        """The layout of groups with these `[N+1]` offsets, a tensor on the host."""
        host_ptr = ptr.numpy()
        counts = np.diff(host_ptr)
        longest = int(counts.max(initial=0))
        group = np.repeat(np.arange(counts.size), counts)
        within = np.arange(host_ptr[-1]) - host_ptr[group]
        falling = np.argsort(-counts, kind="stable")
        is_row_LN = counts[falling] > np.arange(longest)[:, None]
        by_step = (host_ptr[falling] + np.arange(longest)[:, None])[is_row_LN]
        step_place = np.empty_like(by_step)
        step_place[by_step] = np.arange(by_step.size)
        return cls(
            host_ptr=host_ptr,
            longest=longest,
            step_sizes=is_row_LN.sum(1),
            ptr=ptr,
            group=torch.from_numpy(group),
            place=torch.from_numpy(group * longest + within),
            by_step=torch.from_numpy(by_step),
            step_place=torch.from_numpy(step_place),
            mirror=torch.from_numpy(host_ptr[group + 1] - 1 - within),
        )

    @property
    def num_groups(self) -> int:
        """N."""
        return len(self.host_ptr) - 1

    @property
    def num_rows(self) -> int:
        """M."""
        return int(self.host_ptr[-1])

    @property
    def counts(self) -> Tensor:
        """`[N]` rows of each group."""
        return lengths(self.ptr)

    @property
    def is_row(self) -> Tensor:
        """`[N, L]` which places of the padded groups hold a row."""
        return torch.arange(self.longest, device=self.ptr.device) < self.counts[:, None]

    def pad(self, rows: Tensor, value: float = 0.0) -> Tensor:
        """`[M, ...]` rows to `[N, L, ...]`, groups side by side, the shorter ones filled up."""
        shape = (self.num_groups, self.longest, *rows.shape[1:])
        if self.num_groups * self.longest == self.num_rows:  # all are equally long: a view
            return rows.reshape(shape)
        padded = rows.new_full((self.num_groups * self.longest, *rows.shape[1:]), value)
        return padded.index_copy(0, self.place, rows).view(shape)


def lengths(ptr: Tensor) -> Tensor:
    """`[N]` rows of each group from its `[N+1]` offsets."""
    return ptr[1:] - ptr[:-1]


def offsets(lengths_N: Tensor) -> Tensor:
    """`[N+1]` offsets of groups with these numbers of rows, int64."""
    return torch.nn.functional.pad(lengths_N.long().cumsum(0), (1, 0))


def group_of_row(ptr: Tensor, num_rows: int) -> Tensor:
    """`[M]` the group that each row belongs to.

    Args:
        ptr: `[N+1]` offsets.
        num_rows: `ptr[-1]`, given so that a GPU need not be waited for.
    """
    groups = torch.arange(len(ptr) - 1, device=ptr.device)
    return groups.repeat_interleave(lengths(ptr), output_size=num_rows)


def gather_groups(ptr: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of chosen groups, one group after the other.

    Args:
        ptr: `[N+1]` offsets of all groups.
        chosen: `[K]` groups, in the order wanted; one may come more than once.

    Returns:
        `[M']` indices of the rows and `[K+1]` their new offsets.
    """
    counts = lengths(ptr)[chosen]
    new_ptr = offsets(counts)
    num_rows = int(new_ptr[-1])
    shift = (ptr[chosen] - new_ptr[:-1]).repeat_interleave(counts, output_size=num_rows)
    return torch.arange(num_rows, device=ptr.device) + shift, new_ptr
