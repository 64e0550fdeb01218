"""How are captions laid side by side in runs, and images one below another in blocks?"""

from dataclasses import dataclass

import torch
from torch import Tensor

LARGEST_REGIONS = 128  # regions of an image that a tile holds
ROW_STEP = 8  # images whose counts round up to the same multiple share a block


@dataclass(frozen=True)
class Runs:
    """Captions packed into runs of `width` words; no caption crosses a run.

    Attributes:
        width: words of a run, padding included.
        source: `[n]` word indices, in the order of the captions.
        destination: `[n]` where each goes, in `[0, len(slot) * width)`.
        slot: `[runs, width]` int32, which of its run's captions a word belongs to, -1 for padding.
        caption: `[runs, slots]` int32, the captions of a run, -1 where it has fewer.
        left_out: captions with more words than a run holds.
    """

    width: int
    source: Tensor
    destination: Tensor
    slot: Tensor
    caption: Tensor
    left_out: Tensor

    def __len__(self) -> int:
        return len(self.slot)


def pack_runs(word_ptr: Tensor, width: int, slots: int) -> Runs:
    """Pack captions into runs, the longest first, each run filled with the longest that still fit.

    Which lengths make a run is decided once for all runs that can be made alike, so the work grows
    with the number of different lengths and not with the number of captions. Captions without words
    are in no run and in no list.
    """
    word_ptr = word_ptr.to("cpu", torch.int64)
    starts, counts = word_ptr[:-1], word_ptr.diff()
    by_length = {
        length: (counts == length).nonzero().flatten()
        for length in counts.unique().tolist()
        if 0 < length <= width
    }
    used = dict.fromkeys(by_length, 0)
    owner, run, slot, offset = [], [], [], []
    num_runs = 0
    while any(used[length] < len(owners) for length, owners in by_length.items()):
        pattern = _fill(by_length, used, width, slots)
        repeats = min((len(by_length[n]) - used[n]) // taken for n, taken in pattern)
        next_slot = next_offset = 0
        for length, taken in pattern:
            first = used[length]
            used[length] += repeats * taken
            owner.append(by_length[length][first : used[length]])
            place = torch.arange(repeats * taken)
            run.append(num_runs + place // taken)
            slot.append(next_slot + place % taken)
            offset.append(next_offset + place % taken * length)
            next_slot += taken
            next_offset += taken * length
        num_runs += repeats
    return _runs(starts, counts, width, slots, num_runs, (owner, run, slot, offset))


def _fill(
    by_length: dict[int, Tensor], used: dict[int, int], width: int, slots: int
) -> list[tuple[int, int]]:
    """Lengths of one run, and how often each: `[(length, times), ...]`."""
    pattern = []
    for length in sorted(by_length, reverse=True):
        taken = min(len(by_length[length]) - used[length], width // length, slots)
        if taken > 0:
            pattern.append((length, taken))
            width -= taken * length
            slots -= taken
    return pattern


def _runs(
    starts: Tensor,
    counts: Tensor,
    width: int,
    slots: int,
    num_runs: int,
    places: tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]],
) -> Runs:
    nothing = [torch.zeros(0, dtype=torch.int64)]
    owner, run, slot, offset = (torch.cat(nothing + part) for part in places)
    order = owner.argsort()
    owner, run, slot, offset = owner[order], run[order], slot[order], offset[order]
    lengths = counts[owner]
    within = torch.arange(int(lengths.sum())) - (lengths.cumsum(0) - lengths).repeat_interleave(
        lengths
    )
    destination = (run * width + offset).repeat_interleave(lengths) + within
    slot_of_word = torch.full((num_runs * width,), -1, dtype=torch.int32)
    slot_of_word[destination] = slot.repeat_interleave(lengths).int()
    caption = torch.full((num_runs, slots), -1, dtype=torch.int32)
    caption[run, slot] = owner.int()
    return Runs(
        width=width,
        source=starts[owner].repeat_interleave(lengths) + within,
        destination=destination,
        slot=slot_of_word.view(num_runs, width),
        caption=caption,
        left_out=(counts > width).nonzero().flatten(),
    )


@dataclass(frozen=True)
class ImageBlock:
    """Images with about as many regions, each given `rows` rows.

    Attributes:
        rows: the most regions of any of them.
        images: `[n]` their indices.
        counts: `[n]` their numbers of regions.
        source: `[m]` region indices.
        destination: `[m]` the row of each, in `[0, n * rows)`.
    """

    rows: int
    images: Tensor
    counts: Tensor
    source: Tensor
    destination: Tensor

    def __len__(self) -> int:
        return len(self.images)


def image_groups(region_ptr: Tensor) -> tuple[list[Tensor], Tensor]:
    """Images that share blocks, a group each, and the images with more than `LARGEST_REGIONS`."""
    counts = region_ptr.diff()
    height = (counts + ROW_STEP - 1) // ROW_STEP
    fits = (counts > 0) & (counts <= LARGEST_REGIONS)
    groups = [
        (fits & (height == step)).nonzero().flatten() for step in height[fits].unique().tolist()
    ]
    return groups, (counts > LARGEST_REGIONS).nonzero().flatten()


def image_block(images: Tensor, region_ptr: Tensor) -> ImageBlock:
    """Lay these images' regions out in rows."""
    starts, counts = region_ptr[images], region_ptr.diff()[images]
    rows = int(counts.max())
    grid = torch.arange(rows).expand(len(images), rows)
    is_region = grid < counts[:, None]
    return ImageBlock(
        rows=rows,
        images=images,
        counts=counts,
        source=(starts[:, None] + grid)[is_region],
        destination=is_region.flatten().nonzero().flatten(),
    )
