"""The `torch` backend: dense tiles of pairs that agree, or nearly, in both node counts.

V: [images, R, d];  T: [captions, W, d], padded with zeros to the most nodes of any.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from resg.kernels.pair_scores.blocks import Block, Ints, equal_blocks, merged_blocks, tiles
from resg.kernels.pair_scores.checks import PairInputs
from resg.kernels.pair_scores.torch_backend.tile import Nodes, tile_gradients, tile_scores

BUFFERS_PER_TILE = 8  # tensors of S's size that live at once while a tile is scored
TILE_COST = 8192  # elements of S that take about as long as what any tile costs, on a CPU

Chosen = tuple[Ints | None, Ints | None]
"""Images and captions, None for all: every pair of one and the other."""


@dataclass(frozen=True)
class Passes:
    """Both passes over one call's nodes."""

    inputs: PairInputs

    def forward(self) -> Tensor:
        """Scores of every image with every caption; 0 where either has no node."""
        inputs = self.inputs
        out = inputs.regions.new_zeros(inputs.shape, dtype=inputs.working_dtype)
        write_scores(out, inputs, (None, None))
        return out

    def backward(self, grad: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients for regions and words, in their types."""
        nodes = self.inputs.regions, self.inputs.words
        dtype = self.inputs.working_dtype
        grad_regions, grad_words = (x.new_zeros(x.shape, dtype=dtype) for x in nodes)
        add_gradients((grad_regions, grad_words), grad, self.inputs, (None, None))
        return grad_regions.to(nodes[0].dtype), grad_words.to(nodes[1].dtype)


def write_scores(out: Tensor, inputs: PairInputs, chosen: Chosen) -> None:
    """Write the chosen pairs' scores into `out`, in tiles of at most `tile_bytes` altogether.

    Nodes of half precision are raised to float32 tile by tile.
    """
    for images, captions in _tiles(inputs, chosen):
        V = _dense(images, inputs.regions, out.dtype)
        T = _dense(captions, inputs.words, out.dtype)
        out[_crossing(images, captions, out.device)] = tile_scores(V, T, inputs.settings)


def add_gradients(
    sums: tuple[Tensor, Tensor], grad: Tensor, inputs: PairInputs, chosen: Chosen
) -> None:
    """Add the chosen pairs' gradients to `sums`; each tile is scored again, and differentiated."""
    grad_regions, grad_words = sums
    for images, captions in _tiles(inputs, chosen):
        V = _dense(images, inputs.regions, grad_regions.dtype)
        T = _dense(captions, inputs.words, grad_words.dtype)
        grad_tile = grad[_crossing(images, captions, grad.device)].to(grad_regions.dtype)
        grad_V, grad_T = tile_gradients(V, T, grad_tile, inputs.settings)
        _add(grad_regions, images, grad_V)
        _add(grad_words, captions, grad_T)


def _tiles(inputs: PairInputs, chosen: Chosen) -> Iterator[tuple[Block, Block]]:
    """Tiles of about equal counts; a pair that lacks nodes is in none and keeps its score of 0."""
    rows, columns = merged_blocks(
        equal_blocks(inputs.region_ptr.numpy(), chosen[0]),
        equal_blocks(inputs.word_ptr.numpy(), chosen[1]),
        TILE_COST,
    )
    return tiles(
        rows, columns, inputs.tile_bytes // (BUFFERS_PER_TILE * inputs.working_dtype.itemsize)
    )


def _crossing(images: Block, captions: Block, device: torch.device) -> tuple[Tensor, Tensor]:
    """Index of the scores where the images' rows and the captions' columns cross."""
    return _indices(images.owners, device)[:, None], _indices(captions.owners, device)


def _dense(block: Block, nodes: Tensor, dtype: torch.dtype) -> Nodes:
    """The block's nodes, padded with zeros to its largest count."""
    places, sources = _places(block, nodes.device)
    counts = _indices(block.counts, nodes.device)
    chosen = nodes[sources].to(dtype)
    if places is None:
        return Nodes(chosen.view(len(block), block.rows, -1), counts, is_padded=False)
    padded = chosen.new_zeros(len(block) * block.rows, nodes.shape[1])
    padded[places] = chosen
    return Nodes(padded.view(len(block), block.rows, -1), counts, is_padded=True)


def _add(sums: Tensor, block: Block, gradient: Tensor) -> None:
    """Add a tile's gradient to the nodes it belongs to; what padding got is left out."""
    places, sources = _places(block, sums.device)
    gradient = gradient.flatten(0, 1)
    sums[sources] += gradient if places is None else gradient[places]


def _places(block: Block, device: torch.device) -> tuple[Tensor | None, Tensor]:
    """Where in `[n * rows]` the block's nodes lie (None: everywhere), and the nodes' indices."""
    source = block.source.ravel()
    places = np.flatnonzero(source >= 0)
    if len(places) == len(source):
        return None, _indices(source, device)
    return _indices(places, device), _indices(source[places], device)


def _indices(array: Ints, device: torch.device) -> Tensor:
    return torch.from_numpy(array).to(device)
