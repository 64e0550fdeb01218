"""Plans: where nodes lie on the device, made on the host once for each set of offsets.

There are two. Runs hold whole owners side by side, as many as fit into a fixed number of nodes:
all captions, and images in the packed kernel. Blocks hold one image below another, each padded to
the block's rows: images in the other kernels. A training step asks for the same offsets again in
its backward pass, and an evaluation for each block, so the last plans are kept, by the offsets'
bytes.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resg.graphs.ragged import rows_within
from resg.kernels.pair_scores.blocks import Block, Ints, is_one_level_block, level_blocks
from resg.transfer import copy_together

REMEMBERED = 16  # plans of each kind
LARGEST_REGIONS = 128  # regions of an image that a tile holds


@dataclass(frozen=True)
class RunPlan:
    """Owners in runs, on the device.

    Attributes:
        rows: rows of the packed nodes.
        source: `[rows]` int32, the node that goes there, -1 for padding.
        starts: first row of each run and, at the end, `rows`; on the host.
        start: `[runs]` int32, the same on the device.
        slot: `[runs, width]` int32, which of its run's owners a node belongs to, -1 for padding.
        owner: `[runs, slots]` int32, the owners of a run, -1 where it has fewer.
        inv_count: `[runs, width]` float32, one over the number of a node's owner's nodes.
        left_out: owners with too many nodes for a run; on the host.
    """

    rows: int
    source: Tensor
    starts: Ints
    start: Tensor
    slot: Tensor
    owner: Tensor
    inv_count: Tensor
    left_out: Ints

    def __len__(self) -> int:
        return len(self.starts) - 1

    @cached_property
    def same(self) -> Tensor:
        """`[runs, width, width]` whether two nodes of a run belong to one owner, or are padding."""
        return self.slot[:, :, None] == self.slot[:, None, :]


@dataclass(frozen=True)
class BlockPlan:
    """A block of images on the device.

    Attributes:
        owners: `[images]` their indices; on the host.
        rows: rows of each image.
        source: `[images * rows]` int32, the region that goes there, -1 for padding.
        images: `[images]` int32.
        counts: `[images]` int32, regions of each.
    """

    owners: Ints
    rows: int
    source: Tensor
    images: Tensor
    counts: Tensor

    def __len__(self) -> int:
        return len(self.owners)


def caption_runs(word_ptr: Tensor, width: int, slots: int, device: torch.device) -> RunPlan:
    """Captions in runs of `width` rows each, padding included; `word_ptr` is int64 on the host."""
    return _run_plan(_key(word_ptr), width, slots, True, device)


def image_runs(region_ptr: Tensor, width: int, slots: int, device: torch.device) -> RunPlan:
    """Images in runs, one directly after the other: a run's padding takes no rows."""
    return _run_plan(_key(region_ptr), width, slots, False, device)


def image_blocks(
    region_ptr: Tensor, side: int, above: int, device: torch.device
) -> list[BlockPlan]:
    """Images with more than `above` regions, in blocks of about `side` rows."""
    return _block_plans(_key(region_ptr), side, above, device)


def is_one_block(region_ptr: Tensor, side: int) -> bool:
    """Whether all images make one block of about `side` rows."""
    return _is_one_block(_key(region_ptr), side)


def large_images(region_ptr: Tensor) -> Ints:
    """Images with more regions than any tile holds."""
    return _large_images(_key(region_ptr))


def _key(ptr: Tensor) -> bytes:
    return ptr.numpy().tobytes()


@lru_cache(maxsize=REMEMBERED)
def _is_one_block(key: bytes, side: int) -> bool:
    return is_one_level_block(np.frombuffer(key, np.int64), side)


@lru_cache(maxsize=REMEMBERED)
def _large_images(key: bytes) -> Ints:
    return np.flatnonzero(np.diff(np.frombuffer(key, np.int64)) > LARGEST_REGIONS)


@lru_cache(maxsize=REMEMBERED)
def _block_plans(key: bytes, side: int, above: int, device: torch.device) -> list[BlockPlan]:
    blocks = level_blocks(np.frombuffer(key, np.int64), side, LARGEST_REGIONS, above)
    return [_block_plan(block, device) for block in blocks]


def _block_plan(block: Block, device: torch.device) -> BlockPlan:
    arrays = _on_device(device, block.source.ravel(), block.owners, block.counts)
    return BlockPlan(block.owners, block.rows, *arrays)


@lru_cache(maxsize=REMEMBERED)
def _run_plan(key: bytes, width: int, slots: int, is_padded: bool, device: torch.device) -> RunPlan:
    ptr = np.frombuffer(key, np.int64)
    runs = pack_runs(ptr, width, slots)
    source, starts = runs.padded_rows() if is_padded else runs.compact_rows()
    source, start, slot, owner, inv_count = _on_device(
        device, source, starts[:-1], runs.slot, runs.owner, runs.inverse_counts(np.diff(ptr))
    )
    return RunPlan(int(starts[-1]), source, starts, start, slot, owner, inv_count, runs.left_out)


def _on_device(device: torch.device, *arrays: NDArray[Any]) -> list[Tensor]:
    """The arrays on the device, integers as int32, in one copy.

    The host waits only where the current stream is not the main one: the next call with this plan
    may come on another.
    """
    with torch.inference_mode(False):  # kept for training too
        copied = copy_together(
            [
                torch.from_numpy(array if array.dtype.kind == "f" else array.astype(np.int32))
                for array in arrays
            ],
            device,
        )
    if device.type == "cuda":
        stream = torch.cuda.current_stream(device)
        if stream != torch.cuda.default_stream(device):
            stream.synchronize()
    return copied


@dataclass(frozen=True)
class Runs:
    """Owners packed into runs of `width` nodes, on the host; no owner crosses a run.

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

    def padded_rows(self) -> tuple[Ints, Ints]:
        """The node of each row, -1 for padding, and the first row of each run and the end."""
        source = np.full(self.slot.size, -1)
        source[self.destination] = self.source
        return source, np.arange(len(self) + 1) * self.width

    def compact_rows(self) -> tuple[Ints, Ints]:
        """The same without rows for padding."""
        source = self.source[self.destination.argsort()]
        return source, np.append(0, (self.slot >= 0).sum(1).cumsum())

    def inverse_counts(self, counts: Ints) -> NDArray[np.float32]:
        """`[runs, width]` one over the nodes of each node's owner; 1 for padding, never read."""
        if not len(counts):
            return np.ones(self.slot.shape, np.float32)
        owner = np.take_along_axis(self.owner, np.maximum(self.slot, 0), 1)
        return np.where(self.slot >= 0, 1 / np.maximum(counts[owner], 1), 1).astype(np.float32)


def pack_runs(ptr: Ints, width: int, slots: int) -> Runs:
    """Pack owners into runs, the longest first, each run filled with the longest that still fit.

    Which lengths make a run is decided once for all runs that can be made alike, so the work grows
    with the number of different lengths and not with the number of owners. Owners without nodes
    are in no run and in no list.
    """
    starts, counts = ptr[:-1], np.diff(ptr)
    histogram = np.bincount(counts).tolist()
    remaining = {n: times for n, times in enumerate(histogram) if 0 < n <= width and times}
    placed = []
    num_runs = 0
    while remaining:
        pattern = _pattern(remaining, width, slots)
        repeats = min(remaining[length] // taken for length, taken, _, _ in pattern)
        for length, taken, first_slot, offset in pattern:
            placed.append((length, taken, first_slot, offset, num_runs, repeats * taken))
            remaining[length] -= repeats * taken
            if not remaining[length]:
                del remaining[length]
        num_runs += repeats
    return _runs(starts, counts, width, slots, num_runs, placed)


def _pattern(remaining: dict[int, int], width: int, slots: int) -> list[tuple[int, int, int, int]]:
    """Lengths of one run: `[(length, times, the first's slot, its offset), ...]`."""
    pattern = []
    slot = offset = 0
    for length in reversed(remaining):
        taken = min(remaining[length], (width - offset) // length, slots - slot)
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
    more_runs, within = np.divmod(rows_within(owners_of_row), np.maximum(taken, 1))
    run, slot, offset = run + more_runs, slot + within, offset + within * lengths
    order = owner.argsort()
    owner, run, slot, offset = owner[order], run[order], slot[order], offset[order]
    lengths = counts[owner]
    within = rows_within(lengths)
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
