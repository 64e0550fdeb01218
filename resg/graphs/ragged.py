"""Ragged rows, stored flat with offsets, to padded tensors and back.

M rows in all, N groups, L the largest group.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, eq=False)
class PackedSteps:
    """Rows step by step, as a recurrent network reads groups of different lengths.

    Attributes:
        sizes: `[L]` groups that have a row at each step, on the host.
        rows: `[M]` rows in the order of a packed sequence: the groups' first rows, their second
            rows, and so on, longer groups first.
        place: `[M]` where each row lies in that order.
    """

    sizes: NDArray[np.int64]
    rows: Tensor
    place: Tensor

    @classmethod
    def of(cls, host_ptr: NDArray[np.int64], longest: int) -> "PackedSteps":
        """The steps of groups with these `[N+1]` offsets."""
        counts = np.diff(host_ptr)
        falling = np.argsort(-counts, kind="stable")
        is_row_LN = counts[falling] > np.arange(longest)[:, None]
        rows = (host_ptr[falling] + np.arange(longest)[:, None])[is_row_LN]
        place = np.empty_like(rows)
        place[rows] = np.arange(rows.size)
        return cls(is_row_LN.sum(1), torch.from_numpy(rows), torch.from_numpy(place))


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the rows of N groups lie: flat, padded, and step by step as a recurrent network reads.

    Made on the host, once a batch: nothing that works with it then asks the GPU for a count.

    Groups may be padded at their ends to L rows each (`padded`), so that batches of equally many
    groups have the same shape. What is computed of valid rows never depends on padding rows.

    Attributes:
        host_ptr: `[N+1]` offsets of the groups, on the host.
        longest: L.
        ptr: `[N+1]` offsets of the groups.
        group: `[M]` the group of each row.
        place: `[M]` where each row lies among the `N * L` of the padded groups.
        mirror: `[M]` rows with every group turned round, its last row first; padding rows stay.
        steps: the order of a packed sequence, or None where all groups are equally long.
        valid_counts: `[N]` valid rows of each group, or None where the layout is not padded.
        valid_rows: `[M']` the rows that are not padding, or None where that is all.
        valid_ptr: `[N+1]` offsets of the groups among those, on the host.
    """

    host_ptr: NDArray[np.int64]
    longest: int
    ptr: Tensor
    group: Tensor
    place: Tensor
    mirror: Tensor
    steps: PackedSteps | None
    valid_ptr: NDArray[np.int64]
    valid_rows: Tensor | None = None
    valid_counts: Tensor | None = None

    @classmethod
    def of(cls, ptr: Tensor) -> "Layout":
        """The layout of groups with these `[N+1]` offsets, a tensor on the host."""
        host_ptr = ptr.numpy()
        counts = np.diff(host_ptr)
        longest = int(counts.max(initial=0))
        group = np.repeat(np.arange(counts.size), counts)
        within = rows_within(counts)
        is_uniform = counts.size * longest == host_ptr[-1]
        return cls(
            host_ptr=host_ptr,
            longest=longest,
            ptr=ptr,
            group=torch.from_numpy(group),
            place=torch.from_numpy(group * longest + within),
            mirror=torch.from_numpy(host_ptr[group + 1] - 1 - within),
            steps=None if is_uniform else PackedSteps.of(host_ptr, longest),
            valid_ptr=host_ptr,
        )

    @classmethod
    def padded(cls, counts: NDArray[np.int64], longest: int, device: torch.device) -> "Layout":
        """The layout of groups of these `[N]` sizes, each padded to `longest` rows.

        What does not depend on the sizes lies on `device`, the same tensors for all batches; the
        rest on the host.
        """
        ptr, group, rows = _grid(len(counts), longest, device)
        within = np.arange(longest)
        first_N1 = np.arange(len(counts))[:, None] * longest
        is_own_NL = within < counts[:, None]
        mirror_NL = first_N1 + np.where(is_own_NL, counts[:, None] - 1 - within, within)
        is_all = bool(is_own_NL.all())
        return cls(
            host_ptr=np.arange(len(counts) + 1) * longest,
            longest=longest,
            ptr=ptr,
            group=group,
            place=rows,
            mirror=torch.from_numpy(mirror_NL.ravel()),
            steps=None,
            valid_ptr=np.append(0, counts.cumsum()),
            valid_rows=None if is_all else torch.from_numpy(np.flatnonzero(is_own_NL)),
            valid_counts=torch.from_numpy(counts),
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
    def is_padded(self) -> bool:
        """Whether groups are padded to L rows."""
        return self.valid_counts is not None

    @property
    def counts(self) -> Tensor:
        """`[N]` rows of each group, padding left out."""
        return lengths(self.ptr) if self.valid_counts is None else self.valid_counts

    @property
    def is_row(self) -> Tensor:
        """`[N, L]` which places of the padded groups hold a valid row."""
        return torch.arange(self.longest, device=self.ptr.device) < self.counts[:, None]

    def pad(self, rows: Tensor, value: float = 0.0) -> Tensor:
        """`[M, ...]` rows to `[N, L, ...]`, groups side by side, the shorter ones padded."""
        shape = (self.num_groups, self.longest, *rows.shape[1:])
        if self.is_padded:
            is_row = self.is_row.view(*shape[:2], *(1,) * (rows.dim() - 1))
            return rows.reshape(shape).masked_fill(~is_row, value)
        if self.steps is None:  # all are equally long: a view
            return rows.reshape(shape)
        padded = rows.new_full((self.num_groups * self.longest, *rows.shape[1:]), value)
        return padded.index_copy(0, self.place, rows).view(shape)

    def valid(self, rows: Tensor) -> Tensor:
        """`[M, ...]` rows to `[M', ...]`, without padding rows."""
        return rows if self.valid_rows is None else rows.index_select(0, self.valid_rows)


@lru_cache(maxsize=32)
def _grid(num_groups: int, longest: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """`[N+1]` offsets, `[N * L]` groups and numbers of rows where all groups have L."""
    with torch.inference_mode(False):  # kept for training too
        rows = torch.arange(num_groups * longest, device=device)
        ptr = torch.arange(num_groups + 1, device=device) * longest
        return ptr, rows // max(longest, 1), rows


def lengths(ptr: Tensor) -> Tensor:
    """`[N]` rows of each group from its `[N+1]` offsets."""
    return ptr[1:] - ptr[:-1]


def rows_within(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """`[M]` place of each row within its group, from the `[N]` rows of each group."""
    return np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)


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
