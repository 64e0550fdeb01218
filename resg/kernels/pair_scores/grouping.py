"""Which owners (images, captions) have equally many nodes, so that they make one dense tensor?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class CountGroup:
    """Owners with the same number of nodes.

    Attributes:
        count: nodes of each.
        owners: `[n]` their indices, ascending, on the CPU.
        starts: `[n]` the first node of each, on the CPU.
    """

    count: int
    owners: Tensor
    starts: Tensor

    def __len__(self) -> int:
        return len(self.owners)

    def part(self, first: int, last: int) -> "CountGroup":
        """The owners from `first` up to `last`."""
        return CountGroup(self.count, self.owners[first:last], self.starts[first:last])

    def nodes(self, device: torch.device) -> Tensor:
        """`[n, count]` indices of the owners' nodes."""
        return (self.starts[:, None] + torch.arange(self.count)).to(device)

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
            groups.append(CountGroup(count, owners, starts[owners]))
    return groups


def tiles(
    rows: Sequence[CountGroup], columns: Sequence[CountGroup], budget: int
) -> Iterator[tuple[CountGroup, CountGroup]]:
    """Cut every crossing of a group of rows and one of columns into tiles of at most `budget` elements.

    A single pair is never cut, so a tile holds at least one. Tiles are about as wide as high, in nodes:
    that reads the least input per element.
    """
    for row_group in rows:
        for column_group in columns:
            side = max(budget, 1) ** 0.5
            n_columns = min(max(int(side / column_group.count), 1), len(column_group))
            n_rows = budget // (n_columns * column_group.count * row_group.count)
            n_rows = min(max(n_rows, 1), len(row_group))
            for row in range(0, len(row_group), n_rows):
                for column in range(0, len(column_group), n_columns):
                    yield (
                        row_group.part(row, row + n_rows),
                        column_group.part(column, column + n_columns),
                    )
