"""Which owners (images, captions) have about as many nodes, so that they make one dense tensor?"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class CountGroup:
    """Owners with about the same number of nodes.

    Attributes:
        count: the most nodes of any.
        owners: `[n]` their indices, on the CPU.
        starts: `[n]` the first node of each, on the CPU.
        counts: `[n]` nodes of each, ascending, on the CPU.
    """

    count: int
    owners: Tensor
    starts: Tensor
    counts: Tensor

    def __len__(self) -> int:
        return len(self.owners)

    def part(self, first: int, last: int) -> "CountGroup":
        """The owners from `first` up to `last`."""
        counts = self.counts[first:last]
        return CountGroup(int(counts[-1]), self.owners[first:last], self.starts[first:last], counts)

    def nodes(self, device: torch.device) -> tuple[Tensor | None, Tensor]:
        """Where in `[n * count]` the owners' nodes lie (None: everywhere), and their indices."""
        within = torch.arange(self.count)
        sources = self.starts[:, None] + within
        if int(self.counts[0]) == self.count:
            return None, sources.flatten().to(device)
        is_node = (within < self.counts[:, None]).flatten()
        return is_node.nonzero().flatten().to(device), sources.flatten()[is_node].to(device)

    def place(self, out: Tensor, columns: "CountGroup", scores: Tensor) -> None:
        """Write `scores` where the rows of these owners and the `columns` of others cross."""
        rows, cols = self.owners.to(out.device), columns.owners.to(out.device)
        out[rows[:, None], cols] = scores

    def take(self, matrix: Tensor, columns: "CountGroup") -> Tensor:
        """What `matrix` holds where these rows and the `columns` of others cross."""
        rows, cols = self.owners.to(matrix.device), columns.owners.to(matrix.device)
        return matrix[rows[:, None], cols]


def count_groups(ptr: Tensor, chosen: Tensor | None = None) -> list[CountGroup]:
    """Owners (the `chosen` ones, or all) by number of nodes; owners without nodes are left out."""
    ptr = ptr.to("cpu", torch.int64)
    starts, counts = ptr[:-1], ptr.diff()
    if chosen is None:
        chosen = torch.arange(len(counts))
    groups = []
    for count in counts[chosen].unique().tolist():
        if count > 0:
            owners = chosen[counts[chosen] == count]
            groups.append(CountGroup(count, owners, starts[owners], counts[owners]))
    return groups


def merged_groups(
    rows: Sequence[CountGroup], columns: Sequence[CountGroup], tile_cost: int
) -> tuple[list[CountGroup], list[CountGroup]]:
    """Merge groups of neighbouring counts where padding costs less than the tiles it saves.

    A tile costs its elements, padding included, and `tile_cost` more.
    """
    row_mergers, column_mergers = _mergers(rows), _mergers(columns)
    if not row_mergers or not column_mergers:
        return [], []
    row_sizes = [_padded(spans) for spans in row_mergers]
    column_sizes = [_padded(spans) for spans in column_mergers]
    _, best_rows, best_columns = min(
        (
            row_sizes[row_index] * column_sizes[column_index]
            + tile_cost * len(row_groups) * len(column_groups),
            row_index,
            column_index,
        )
        for row_index, row_groups in enumerate(row_mergers)
        for column_index, column_groups in enumerate(column_mergers)
    )
    return (
        [_merged(rows[first:last]) for first, last, _, _ in row_mergers[best_rows]],
        [_merged(columns[first:last]) for first, last, _, _ in column_mergers[best_columns]],
    )


Span = tuple[int, int, int, int]
"""First and last of the groups to merge, how many owners they have, and the largest count."""


def _mergers(groups: Sequence[CountGroup]) -> list[list[Span]]:
    """Ways to merge neighbours, from none merged to all, each step the one that pads least."""
    spans = [(i, i + 1, len(group), group.count) for i, group in enumerate(groups)]
    mergers = [spans] if spans else []
    while len(spans) > 1:
        _, at = min(
            (owners * (spans[i + 1][3] - count), i)
            for i, (_, _, owners, count) in enumerate(spans[:-1])
        )
        low, high = spans[at : at + 2]
        both = (low[0], high[1], low[2] + high[2], high[3])
        spans = [*spans[:at], both, *spans[at + 2 :]]
        mergers.append(spans)
    return mergers


def _padded(spans: Sequence[Span]) -> int:
    return sum(owners * count for _, _, owners, count in spans)


def _merged(groups: Sequence[CountGroup]) -> CountGroup:
    if len(groups) == 1:
        return groups[0]
    return CountGroup(
        groups[-1].count,
        torch.cat([group.owners for group in groups]),
        torch.cat([group.starts for group in groups]),
        torch.cat([group.counts for group in groups]),
    )


def tiles(
    rows: Sequence[CountGroup], columns: Sequence[CountGroup], budget: int
) -> Iterator[tuple[CountGroup, CountGroup]]:
    """Cut every crossing of a group of rows and one of columns into tiles of `budget` elements.

    A single pair is never cut, so a tile holds at least one. Tiles are about as wide as high, in
    nodes: that reads the least input per element.
    """
    for row_group in rows:
        for column_group in columns:
            fits = budget // (row_group.count * column_group.count)  # pairs
            n_columns = min(math.isqrt(budget) // column_group.count, fits)
            n_columns = min(max(n_columns, 1), len(column_group))
            n_rows = min(max(fits // n_columns, 1), len(row_group))
            for row in range(0, len(row_group), n_rows):
                for column in range(0, len(column_group), n_columns):
                    yield (
                        row_group.part(row, row + n_rows),
                        column_group.part(column, column + n_columns),
                    )
