"""Pair scores in plain PyTorch: dense tiles of pairs that agree in both node counts, so nothing is padded.

I images of R regions, C captions of W words, d width.
V: [I, R, d];  T: [C, W, d];  S, and everything of its size: [I, R, C, W];  out: [I, C]
"""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from resg.kernels.pair_scores.grouping import CountGroup, count_groups, tiles
from resg.kernels.pair_scores.reference import NORM_FLOOR
from resg.kernels.pair_scores.settings import PairSettings

BUFFERS_PER_TILE = 8  # tensors of S's size that live at once while a tile is scored
LARGEST_EXPONENT = 20.0  # up to here exp(x) and its square stay well inside float32
LEAST_SQUARE = 1e-36

Side = tuple[Tensor, Tensor, Tensor | None]
"""Nodes, where each owner's start and end, and which owners are meant (None for all)."""


def composed_forward(
    images: Side, captions: Side, settings: PairSettings, tile_bytes: int
) -> Tensor:
    """Scores of every image with every caption: `[images, captions]`, 0 where either has no node."""
    (regions, region_ptr, _), (_, word_ptr, _) = images, captions
    shape = len(region_ptr) - 1, len(word_ptr) - 1
    out = torch.zeros(shape, dtype=working_dtype(regions), device=regions.device)
    write_composed_scores(out, images, captions, settings, tile_bytes)
    return out


def write_composed_scores(
    out: Tensor, images: Side, captions: Side, settings: PairSettings, tile_bytes: int
) -> None:
    """Write the chosen pairs' scores into `out`, in tiles that together take at most `tile_bytes`.

    Half precision nodes are raised to float32 tile by tile.
    """
    regions, words = images[0], captions[0]
    for image_tile, caption_tile in _tiles(images, captions, tile_bytes):
        V = regions[image_tile.nodes(regions.device)].to(out.dtype)
        T = words[caption_tile.nodes(words.device)].to(out.dtype)
        image_tile.place(out, caption_tile, tile_scores(V, T, settings))


def composed_backward(
    grad: Tensor, images: Side, captions: Side, settings: PairSettings, tile_bytes: int
) -> tuple[Tensor, Tensor]:
    """Gradients for regions and words, in their types."""
    regions, words = images[0], captions[0]
    grad_regions = torch.zeros_like(regions, dtype=working_dtype(regions))
    grad_words = torch.zeros_like(words, dtype=working_dtype(words))
    sums = grad_regions, grad_words
    add_composed_gradients(sums, grad, images, captions, settings, tile_bytes)
    return grad_regions.to(regions.dtype), grad_words.to(words.dtype)


def add_composed_gradients(
    sums: tuple[Tensor, Tensor],
    grad: Tensor,
    images: Side,
    captions: Side,
    settings: PairSettings,
    tile_bytes: int,
) -> None:
    """Add the chosen pairs' gradients to `sums`: each tile is scored again and differentiated alone."""
    regions, words = images[0], captions[0]
    grad_regions, grad_words = sums
    for image_tile, caption_tile in _tiles(images, captions, tile_bytes):
        region_nodes = image_tile.nodes(regions.device)
        word_nodes = caption_tile.nodes(words.device)
        V = regions[region_nodes].to(grad_regions.dtype)
        T = words[word_nodes].to(grad_words.dtype)
        scores, gradients = torch.func.vjp(partial(tile_scores, settings=settings), V, T)
        grad_V, grad_T = gradients(image_tile.take(grad, caption_tile).to(scores.dtype))
        grad_regions[region_nodes] += grad_V
        grad_words[word_nodes] += grad_T


def working_dtype(nodes: Tensor) -> torch.dtype:
    """Type that scores are computed in: float64 for float64 nodes, float32 for all others."""
    return torch.float64 if nodes.dtype == torch.float64 else torch.float32


def tile_scores(V: Tensor, T: Tensor, settings: PairSettings) -> Tensor:
    """Scores `[I, C]` of images `[I, R, d]` with captions `[C, W, d]`, in differentiable operations.

    The attended vectors are never formed: with attention a and logits s of a node x,
    `cos(x, aᵀV) = aᵀs / (|x| sqrt(aᵀ G a))`, where `G = V Vᵀ`. A cosine does not change with the length
    of its arguments, so the attention needs no division by its sum.
    """
    I, R, _ = V.shape  # noqa: E741
    C, W, _ = T.shape
    S = (V.flatten(0, 1) @ T.flatten(0, 1).T).view(I, R, C, W)
    clipped = settings.normalise == "clipped_l2"
    logits = torch.nn.functional.leaky_relu(S, 0.1) if clipped else S
    words_temperature, regions_temperature = settings.temperatures
    scores = []
    if settings.words_attend:
        norm = torch.linalg.vector_norm(logits, dim=3, keepdim=True) if clipped else None
        attention = _attention(logits, norm, words_temperature, dim=1)
        gram = V @ V.transpose(1, 2)
        attended = torch.bmm(gram, attention.view(I, R, C * W)).view(I, R, C, W)
        along = (attention * S).sum(1)
        square = (attention * attended).sum(1)
        length = torch.linalg.vector_norm(T, dim=2)
        scores.append(_pooled(_cosine(along, square, length), settings))
    if settings.regions_attend:
        norm = logits.square().sum(1, keepdim=True) if clipped else None
        norm = _root(norm) if norm is not None else None
        attention = _attention(logits, norm, regions_temperature, dim=3)
        gram = T @ T.transpose(1, 2)
        by_caption = attention.view(I * R, C, W).transpose(0, 1)
        attended = torch.bmm(by_caption, gram).transpose(0, 1).view(I, R, C, W)
        along = (attention * S).sum(3)
        square = (attention * attended).sum(3)
        length = torch.linalg.vector_norm(V, dim=2).unsqueeze(2)
        cosine = _cosine(along, square, length)
        scores.append(_pooled(cosine.transpose(1, 2), settings))
    return scores[0] if len(scores) == 1 else (scores[0] + scores[1]) / 2


def _attention(logits: Tensor, norm: Tensor | None, temperature: float, dim: int) -> Tensor:
    """Exponentials of the scaled logits, each row up to a factor of its own."""
    if norm is None:
        scaled = temperature * logits
    else:
        scaled = logits * (temperature / (norm + NORM_FLOOR))
        if temperature <= LARGEST_EXPONENT:  # normalised logits lie in [-1, 1]
            return scaled.exp()
    return (scaled - scaled.detach().amax(dim, keepdim=True)).exp()


def _root(square: Tensor) -> Tensor:
    """Square root with the derivative 0 at 0."""
    return square.clamp(min=LEAST_SQUARE).sqrt()


def _cosine(along: Tensor, square: Tensor, length: Tensor) -> Tensor:
    """`along / (length sqrt(square))`, and 0 where a vector has no length."""
    return along / (length.clamp(min=NORM_FLOOR) * _root(square))


def _pooled(cosines: Tensor, settings: PairSettings) -> Tensor:
    if settings.pooling == "mean":
        return cosines.mean(-1)
    return torch.logsumexp(settings.lambda_lse * cosines, dim=-1) / settings.lambda_lse


def _tiles(
    images: Side, captions: Side, tile_bytes: int
) -> Iterator[tuple[CountGroup, CountGroup]]:
    """Tiles of equal counts; a pair that lacks nodes is in none and keeps its score of 0."""
    itemsize = working_dtype(images[0]).itemsize
    (_, region_ptr, chosen_images), (_, word_ptr, chosen_captions) = images, captions
    rows = count_groups(region_ptr, chosen_images)
    columns = count_groups(word_ptr, chosen_captions)
    return tiles(rows, columns, tile_bytes // (BUFFERS_PER_TILE * itemsize))
