"""Ragged rows, stored flat with offsets, to padded tensors and back.

M rows in all, N groups, L the largest group.
"""

import torch
from torch import Tensor


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


def pad(rows: Tensor, ptr: Tensor, value: float = 0.0) -> tuple[Tensor, Tensor]:
    """Groups side by side, the shorter ones filled up.

    Args:
        rows: `[M, ...]`.
        ptr: `[N+1]` offsets.
        value: what fills up.

    Returns:
        `[N, L, ...]` and the mask `[N, L]` of true rows.
    """
    num_groups, num_rows = len(ptr) - 1, len(rows)
    counts = lengths(ptr)
    longest = int(counts.max()) if num_groups else 0
    is_row = torch.arange(longest, device=rows.device) < counts[:, None]
    if num_groups * longest == num_rows:  # all groups are equally long: a view
        return rows.reshape(num_groups, longest, *rows.shape[1:]), is_row
    padded = rows.new_full((num_groups, longest, *rows.shape[1:]), value)
    padded[is_row] = rows
    return padded, is_row


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
