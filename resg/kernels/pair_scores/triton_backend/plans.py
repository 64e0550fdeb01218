"""Where do nodes lie on the device? Planned on the host once for each pointer, then remembered.

A training step asks for the same pointers again in its backward pass, and an evaluation for each
block, so the last plans are kept, by the pointers' bytes.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resg.kernels.pair_scores.triton_backend.packing import (
    LARGEST_REGIONS,
    ImageBlock,
    Ints,
    Runs,
    image_blocks,
    makes_one_block,
    pack_runs,
)

REMEMBERED = 16  # plans of each kind
ALIGNMENT = 4  # elements of int32 that make 16 bytes, so that kernels load vectors


@dataclass(frozen=True)
class RunLayout:
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
    left_out: Tensor

    def __len__(self) -> int:
        return len(self.starts) - 1

    @cached_property
    def same(self) -> Tensor:
        """`[runs, width, width]` whether two nodes of a run belong to one owner, or are padding."""
        return self.slot[:, :, None] == self.slot[:, None, :]


@dataclass(frozen=True)
class BlockLayout:
    """A block of images on the device, `rows` rows each.

    Attributes:
        block: the plan.
        source: `[images * rows]` int32, the region that goes there, -1 for padding.
        images: `[images]` int32.
        counts: `[images]` int32, regions of each.
    """

    block: ImageBlock
    source: Tensor
    images: Tensor
    counts: Tensor

    @property
    def rows(self) -> int:
        """Rows of an image."""
        return self.block.rows

    def __len__(self) -> int:
        return len(self.block)


def caption_runs(word_ptr: Tensor, width: int, slots: int, device: torch.device) -> RunLayout:
    """Captions in runs of `width` rows each, padding included; `word_ptr` is int64 on the host."""
    return _runs(word_ptr.numpy().tobytes(), width, slots, True, device)


def image_runs(region_ptr: Tensor, width: int, slots: int, device: torch.device) -> RunLayout:
    """Images in runs, one directly after the other: a run's padding takes no rows."""
    return _runs(region_ptr.numpy().tobytes(), width, slots, False, device)


def block_layouts(
    region_ptr: Tensor, side: int, above: int, device: torch.device
) -> list[BlockLayout]:
    """Images with more than `above` regions, in blocks of about `side` rows."""
    return _blocks(region_ptr.numpy().tobytes(), side, above, device)


def is_one_block(region_ptr: Tensor, side: int) -> bool:
    """Whether all images make one block of about `side` rows."""
    return _is_one(region_ptr.numpy().tobytes(), side)


def large_images(region_ptr: Tensor) -> Tensor:
    """Images with more regions than any tile holds."""
    return _large(region_ptr.numpy().tobytes())


@lru_cache(maxsize=REMEMBERED)
def _is_one(ptr: bytes, side: int) -> bool:
    return makes_one_block(np.frombuffer(ptr, np.int64), side)


@lru_cache(maxsize=REMEMBERED)
def _large(ptr: bytes) -> Tensor:
    counts = np.diff(np.frombuffer(ptr, np.int64))
    return torch.from_numpy(np.flatnonzero(counts > LARGEST_REGIONS))


@lru_cache(maxsize=REMEMBERED)
def _runs(ptr: bytes, width: int, slots: int, is_padded: bool, device: torch.device) -> RunLayout:
    pointer = np.frombuffer(ptr, np.int64)
    runs = pack_runs(pointer, width, slots)
    source, starts = _padded_rows(runs) if is_padded else _compact_rows(runs)
    inv_count = _inverse_counts(runs, np.diff(pointer)).view(np.int32)
    source, start, slot, owner, inv_count = _on_device(
        device, source, starts[:-1], runs.slot.ravel(), runs.owner.ravel(), inv_count.ravel()
    )
    with torch.inference_mode(False):
        return RunLayout(
            rows=int(starts[-1]),
            source=source,
            starts=starts,
            start=start,
            slot=slot.view(len(runs), width),
            owner=owner.view(len(runs), slots),
            inv_count=inv_count.view(torch.float32).view(len(runs), width),
            left_out=torch.from_numpy(runs.left_out),
        )


def _padded_rows(runs: Runs) -> tuple[Ints, Ints]:
    source = np.full(runs.slot.size, -1)
    source[runs.destination] = runs.source
    return source, np.arange(len(runs) + 1) * runs.width


def _compact_rows(runs: Runs) -> tuple[Ints, Ints]:
    source = runs.source[runs.destination.argsort()]
    filled = (runs.slot >= 0).sum(1)
    return source, np.concatenate(([0], filled.cumsum()))


def _inverse_counts(runs: Runs, counts: Ints) -> NDArray[np.float32]:
    """`[runs, width]`; 1 for padding, which nothing reads."""
    if not len(counts):
        return np.ones(runs.slot.shape, np.float32)
    owner = np.take_along_axis(runs.owner, np.maximum(runs.slot, 0), 1)
    return np.where(runs.slot >= 0, 1 / np.maximum(counts[owner], 1), 1).astype(np.float32)


@lru_cache(maxsize=REMEMBERED)
def _blocks(ptr: bytes, side: int, above: int, device: torch.device) -> list[BlockLayout]:
    layouts = []
    for block in image_blocks(np.frombuffer(ptr, np.int64), side, above):
        arrays = block.source.ravel(), block.images, block.counts
        layouts.append(BlockLayout(block, *_on_device(device, *arrays)))
    return layouts


def _on_device(device: torch.device, *arrays: NDArray[Any]) -> list[Tensor]:
    """The arrays as int32 on the device, in one copy, each where a vector can be loaded.

    The host does not wait: CUDA has read pageable memory when an asynchronous copy returns. On a
    side stream it does, as the next call with this plan may come on another.
    """
    is_cuda = device.type == "cuda"
    is_main = is_cuda and torch.cuda.current_stream(device) == torch.cuda.default_stream(device)
    ends = np.cumsum([-(-array.size // ALIGNMENT) * ALIGNMENT for array in arrays])
    joined = np.zeros(ends[-1], np.int32)
    starts = [0, *ends[:-1]]
    for array, start in zip(arrays, starts, strict=True):
        joined[start : start + array.size] = array
    with torch.inference_mode(False):
        copied = torch.from_numpy(joined).to(device, non_blocking=is_main)
        return [
            copied[start : start + array.size] for array, start in zip(arrays, starts, strict=True)
        ]
