"""How are owners (captions, images) laid side by side in runs, and images one below another?

Everything here is NumPy on the host: it runs once for each new batch, in the way of its first
launch.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

LARGEST_REGIONS = 128  # regions of an image that a tile holds
ROW_STEP = 8  # images whose counts round up to the same multiple share a block


@dataclass(frozen=True)
class Runs:
    """Owners packed into runs of `width` nodes; no owner crosses a run.

    Attributes:
        width: nodes of a run, padding included.
        source: `[n]` node indices, in the order of the owners.
        destination: `[n]` where each goes, in `[0, len(slot) * width)`.
        slot: `[runs, width]` which of its run's owners a node belongs to, -1 for padding.
        owner: `[runs, slots]` the owners of a run, -1 where it has fewer.
        left_out: owners with more nodes than a run holds.
    """

    width: int
    source: Ints
    destination: Ints
    slot: Ints
    owner: Ints
    left_out: Ints

    def __len__(self) -> int:
        return len(self.slot)


def pack_runs(ptr: Ints, width: int, slots: int) -> Runs:
    """Pack owners into runs, the longest first, each run filled with the longest that still fit.

    Which lengths make a run is decided once for all runs that can be made alike, so the work grows
    with the number of different lengths and not with the number of owners. Owners without nodes
    are in no run and in no list.
    """
    starts, counts = ptr[:-1], np.diff(ptr)
    histogram = np.bincount(counts).tolist()
    left = {n: times for n, times in enumerate(histogram) if 0 < n <= width and times}
    placed = []
    num_runs = 0
    while left:
        pattern = _fill(left, width, slots)
        repeats = min(left[length] // taken for length, taken, _, _ in pattern)
        for length, taken, first_slot, offset in pattern:
            placed.append((length, taken, first_slot, offset, num_runs, repeats * taken))
            left[length] -= repeats * taken
            if not left[length]:
                del left[length]
        num_runs += repeats
    return _runs(starts, counts, width, slots, num_runs, placed)


def _fill(left: dict[int, int], width: int, slots: int) -> list[tuple[int, int, int, int]]:
    """Lengths of one run: `[(length, times, the first's slot, its offset), ...]`."""
    pattern = []
    slot = offset = 0
    for length in reversed(left):
        taken = min(left[length], (width - offset) // length, slots - slot)
        if taken > 0:
            pattern.append((length, taken, slot, offset))
            slot += taken
            offset += taken * length
    return pattern


def _runs(
    starts: Ints,
    counts: Ints,
    width: int,
    slots: int,
    num_runs: int,
    placed: list[tuple[int, int, int, int, int, int]],
) -> Runs:
    """From rows `(length, times a run, first slot, first offset, first run, owners)`."""
    table = np.array(placed, np.int64).reshape(-1, 6)
    table = table[table[:, 0].argsort(kind="stable")]
    owners_of_row = table[:, 5]
    lengths, taken, slot, offset, run, _ = np.repeat(table, owners_of_row, 0).T
    by_length = counts.argsort(kind="stable")
    first = np.searchsorted(counts, 1, sorter=by_length)
    owner = by_length[first : first + len(lengths)]
    more_runs, within = np.divmod(_within(owners_of_row), np.maximum(taken, 1))
    run, slot, offset = run + more_runs, slot + within, offset + within * lengths
    order = owner.argsort()
    owner, run, slot, offset = owner[order], run[order], slot[order], offset[order]
    lengths = counts[owner]
    within = _within(lengths)
    destination = np.repeat(run * width + offset, lengths) + within
    slot_of_node = np.full(num_runs * width, -1)
    slot_of_node[destination] = np.repeat(slot, lengths)
    owner_of_slot = np.full((num_runs, slots), -1)
    owner_of_slot[run, slot] = owner
    return Runs(
        width=width,
        source=np.repeat(starts[owner], lengths) + within,
        destination=destination,
        slot=slot_of_node.reshape(num_runs, width),
        owner=owner_of_slot,
        left_out=np.flatnonzero(counts > width),
    )


@dataclass(frozen=True)
class ImageBlock:
    """Images with about as many regions, each given `rows` rows.

    Attributes:
        rows: the most regions of any of them.
        images: `[n]` their indices.
        counts: `[n]` their numbers of regions.
        source: `[n, rows]` region indices, -1 for padding.
    """

    rows: int
    images: Ints
    counts: Ints
    source: Ints

    def __len__(self) -> int:
        return len(self.images)


def image_blocks(region_ptr: Ints, side: int, above: int = 0) -> list[ImageBlock]:
    """Images of `above` + 1 to `LARGEST_REGIONS` regions, in blocks of about `side` rows."""
    starts, counts = region_ptr[:-1], np.diff(region_ptr)
    height = -(-counts // ROW_STEP)
    fits = (counts > above) & (counts <= LARGEST_REGIONS)
    blocks = []
    for step in np.unique(height[fits]):
        group = np.flatnonzero(fits & (height == step))
        rows = int(counts[group].max())
        for images in np.array_split(group, -(-len(group) * rows // max(side, rows))):
            of_block = counts[images]
            grid = np.arange(of_block.max())
            source = starts[images][:, None] + grid
            source[grid >= of_block[:, None]] = -1
            blocks.append(ImageBlock(len(grid), images, of_block, source))
    return blocks


def makes_one_block(region_ptr: Ints, side: int) -> bool:
    """Whether `image_blocks` makes one block, or none, of all images."""
    counts = np.diff(region_ptr)
    counts = counts[counts > 0]
    if not len(counts):
        return True
    most, fewest = int(counts.max()), int(counts.min())
    is_level = -(-most // ROW_STEP) == -(-fewest // ROW_STEP)
    return is_level and len(counts) * most <= max(side, most)


def _within(lengths: Ints) -> Ints:
    """0 up to `lengths[0]`, 0 up to `lengths[1]`, ..."""
    return np.arange(lengths.sum()) - np.repeat(lengths.cumsum() - lengths, lengths)
