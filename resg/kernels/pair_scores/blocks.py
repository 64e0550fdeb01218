"""Blocks of owners (images, captions) with about as many nodes each, padded to equally many rows.

Planned with NumPy on the host, for both backends.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

ROW_STEP = 8  # images whose counts round up to the same multiple share a block


@dataclass(frozen=True)
class Block:
    """Owners with about the same number of nodes.

    Attributes:
        owners: `[n]` their indices.
        starts: `[n]` the first node of each.
        counts: `[n]` nodes of each, at least 1.
    """

    owners: Ints
    starts: Ints
    counts: Ints

    @classmethod
    def of(cls, ptr: Ints, owners: Ints) -> "Block":
        """These owners, whose nodes lie at the offsets `ptr`."""
        return cls(owners, ptr[owners], ptr[owners + 1] - ptr[owners])

    def __len__(self) -> int:
        return len(self.owners)

    @property
    def rows(self) -> int:
        """Rows of each owner: the most nodes of any."""
        return int(self.counts.max())

    @property
    def source(self) -> Ints:
        """`[n, rows]` index of the node in each row, -1 for padding."""
        within = np.arange(self.rows)
        return np.where(within < self.counts[:, None], self.starts[:, None] + within, -1)

    def part(self, first: int, last: int) -> "Block":
        """The owners from `first` up to `last`."""
        return Block(self.owners[first:last], self.starts[first:last], self.counts[first:last])


def equal_blocks(ptr: Ints, chosen: Ints | None = None) -> list[Block]:
    """A block for each number of nodes, of all owners or the `chosen`; those without nodes in none.

    Blocks ascend by their number of nodes.
    """
    counts = np.diff(ptr)
    if chosen is None:
        chosen = np.arange(counts.size)
    of_chosen = counts[chosen]
    return [Block.of(ptr, chosen[of_chosen == n]) for n in np.unique(of_chosen) if n > 0]


def merged_blocks(
    rows: Sequence[Block], columns: Sequence[Block], tile_cost: int
) -> tuple[list[Block], list[Block]]:
    """Merge blocks of neighbouring counts where padding costs less than the tiles it saves.

    A tile costs its elements, padding included, and `tile_cost` more.
    """
    row_mergers, column_mergers = _mergers(rows), _mergers(columns)
    if not row_mergers or not column_mergers:
        return [], []
    row_sizes = [_padded_size(spans) for spans in row_mergers]
    column_sizes = [_padded_size(spans) for spans in column_mergers]
    _, best_rows, best_columns = min(
        (
            row_sizes[row_index] * column_sizes[column_index]
            + tile_cost * len(row_spans) * len(column_spans),
            row_index,
            column_index,
        )
        for row_index, row_spans in enumerate(row_mergers)
        for column_index, column_spans in enumerate(column_mergers)
    )
    return (
        [_merged(rows[span.first : span.last]) for span in row_mergers[best_rows]],
        [_merged(columns[span.first : span.last]) for span in column_mergers[best_columns]],
    )


@dataclass(frozen=True)
class Span:
    """Blocks `first` up to `last`, which have so many owners and so many nodes at most."""

    first: int
    last: int
    owners: int
    rows: int


def _mergers(blocks: Sequence[Block]) -> list[list[Span]]:
    """Ways to merge neighbours, from none merged to all, each step the one that pads least."""
    spans = [Span(i, i + 1, len(block), block.rows) for i, block in enumerate(blocks)]
    mergers = [spans] if spans else []
    while len(spans) > 1:
        _, at = min(
            (low.owners * (high.rows - low.rows), i)
            for i, (low, high) in enumerate(pairwise(spans))
        )
        low, high = spans[at : at + 2]
        both = Span(low.first, high.last, low.owners + high.owners, high.rows)
        spans = [*spans[:at], both, *spans[at + 2 :]]
        mergers.append(spans)
    return mergers


def _padded_size(spans: Sequence[Span]) -> int:
    return sum(span.owners * span.rows for span in spans)


def _merged(blocks: Sequence[Block]) -> Block:
    if len(blocks) == 1:
        return blocks[0]
    return Block(
        np.concatenate([block.owners for block in blocks]),
        np.concatenate([block.starts for block in blocks]),
        np.concatenate([block.counts for block in blocks]),
    )


def tiles(
    rows: Sequence[Block], columns: Sequence[Block], budget: int
) -> Iterator[tuple[Block, Block]]:
    """Cut every crossing of a block of rows and one of columns into tiles of `budget` elements.

    A single pair is never cut, so a tile holds at least one. Tiles are about as wide as high, in
    nodes: that reads the least input per element.
    """
    for row_block in rows:
        for column_block in columns:
            fits = budget // (row_block.rows * column_block.rows)  # pairs
            n_columns = min(math.isqrt(budget) // column_block.rows, fits)
            n_columns = min(max(n_columns, 1), len(column_block))
            n_rows = min(max(fits // n_columns, 1), len(row_block))
            for row in range(0, len(row_block), n_rows):
                for column in range(0, len(column_block), n_columns):
                    yield (
                        row_block.part(row, row + n_rows),
                        column_block.part(column, column + n_columns),
                    )


def level_blocks(ptr: Ints, side: int, most: int, above: int = 0) -> list[Block]:
    """Owners of `above` + 1 to `most` nodes, in blocks of about `side` rows.

    A block's numbers of nodes round up to the same multiple of `ROW_STEP`.
    """
    counts = np.diff(ptr)
    height = _height(counts)
    fits = (counts > above) & (counts <= most)
    blocks = []
    for step in np.unique(height[fits]):
        group = np.flatnonzero(fits & (height == step))
        rows = int(counts[group].max())
        for owners in np.array_split(group, -(-len(group) * rows // max(side, rows))):
            blocks.append(Block.of(ptr, owners))
    return blocks


def is_one_level_block(ptr: Ints, side: int) -> bool:
    """Whether `level_blocks` makes one block, or none, of all owners."""
    counts = np.diff(ptr)
    counts = counts[counts > 0]
    if not len(counts):
        return True
    most, fewest = counts.max(), counts.min()
    is_level = bool(_height(most) == _height(fewest))
    return is_level and len(counts) * int(most) <= max(side, int(most))


def _height(counts: Ints) -> Ints:
    return -(-counts // ROW_STEP)
