"""Pair scores in plain PyTorch: dense tiles of pairs that agree, or nearly, in both node counts."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from resg.kernels.pair_scores.settings import PairSettings
from resg.kernels.pair_scores.torch_backend.blocks import (
    CountGroup,
    count_groups,
    merged_groups,
    tiles,
)
from resg.kernels.pair_scores.torch_backend.tile import Nodes, tile_gradients, tile_scores

BUFFERS_PER_TILE = 8  # tensors of S's size that live at once while a tile is scored
TILE_COST = 8192  # elements of S that take about as long as what any tile costs, on a CPU

Side = tuple[Tensor, Tensor, Tensor | None]
"""Nodes, where each owner's start and end, and which owners are meant (None for all)."""


@dataclass(frozen=True)
class ComposedPasses:
    """Both passes over one call's nodes; pointers are int64 on the CPU."""

    regions: Tensor
    words: Tensor
    region_ptr: Tensor
    word_ptr: Tensor
    settings: PairSettings
    tile_bytes: int

    def forward(self) -> Tensor:
        """Scores of every image with every caption; 0 where either has no node."""
        shape = len(self.region_ptr) - 1, len(self.word_ptr) - 1
        out = self.regions.new_zeros(shape, dtype=working_dtype(self.regions))
        write_composed_scores(out, *self._sides(), self.settings, self.tile_bytes)
        return out

    def backward(self, grad: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients for regions and words, in their types."""
        dtype = working_dtype(self.regions)
        grad_regions = self.regions.new_zeros(self.regions.shape, dtype=dtype)
        sums = grad_regions, self.words.new_zeros(self.words.shape, dtype=dtype)
        add_composed_gradients(sums, grad, *self._sides(), self.settings, self.tile_bytes)
        return sums[0].to(self.regions.dtype), sums[1].to(self.words.dtype)

    def _sides(self) -> tuple[Side, Side]:
        return (self.regions, self.region_ptr, None), (self.words, self.word_ptr, None)


def write_composed_scores(
    out: Tensor, images: Side, captions: Side, settings: PairSettings, tile_bytes: int
) -> None:
    """Write the chosen pairs' scores into `out`, in tiles that together take at most `tile_bytes`.

    Half precision nodes are raised to float32 tile by tile.
    """
    regions, words = images[0], captions[0]
    for image_tile, caption_tile in _tiles(images, captions, tile_bytes):
        V = _dense(image_tile, regions, out.dtype)
        T = _dense(caption_tile, words, out.dtype)
        image_tile.place(out, caption_tile, tile_scores(V, T, settings))


def add_composed_gradients(
    sums: tuple[Tensor, Tensor],
    grad: Tensor,
    images: Side,
    captions: Side,
    settings: PairSettings,
    tile_bytes: int,
) -> None:
    """Add the chosen pairs' gradients to `sums`; each tile is scored again, and differentiated."""
    regions, words = images[0], captions[0]
    grad_regions, grad_words = sums
    for image_tile, caption_tile in _tiles(images, captions, tile_bytes):
        V = _dense(image_tile, regions, grad_regions.dtype)
        T = _dense(caption_tile, words, grad_words.dtype)
        grad_tile = image_tile.take(grad, caption_tile).to(grad_regions.dtype)
        grad_V, grad_T = tile_gradients(V, T, grad_tile, settings)
        _add(grad_regions, image_tile, grad_V)
        _add(grad_words, caption_tile, grad_T)


def working_dtype(nodes: Tensor) -> torch.dtype:
    """Type that scores are computed in: float64 for float64 nodes, float32 for all others."""
    return torch.float64 if nodes.dtype == torch.float64 else torch.float32


def _dense(group: CountGroup, nodes: Tensor, dtype: torch.dtype) -> Nodes:
    """The group's nodes, padded with zeros to its largest count."""
    places, sources = group.nodes(nodes.device)
    counts = group.counts.to(nodes.device)
    chosen = nodes[sources].to(dtype)
    if places is None:
        return Nodes(chosen.view(len(group), group.count, -1), counts, is_padded=False)
    padded = chosen.new_zeros(len(group) * group.count, nodes.shape[1])
    padded[places] = chosen
    return Nodes(padded.view(len(group), group.count, -1), counts, is_padded=True)


def _add(sums: Tensor, group: CountGroup, gradient: Tensor) -> None:
    """Add a tile's gradient to the nodes it belongs to; what padding got is left out."""
    places, sources = group.nodes(sums.device)
    gradient = gradient.flatten(0, 1)
    sums[sources] += gradient if places is None else gradient[places]


def _tiles(
    images: Side, captions: Side, tile_bytes: int
) -> Iterator[tuple[CountGroup, CountGroup]]:
    """Tiles of about equal counts; a pair that lacks nodes is in none and keeps its score of 0."""
    itemsize = working_dtype(images[0]).itemsize
    (_, region_ptr, chosen_images), (_, word_ptr, chosen_captions) = images, captions
    rows, columns = merged_groups(
        count_groups(region_ptr, chosen_images),
        count_groups(word_ptr, chosen_captions),
        TILE_COST,
    )
    return tiles(rows, columns, tile_bytes // (BUFFERS_PER_TILE * itemsize))
