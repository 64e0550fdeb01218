"""Node-level scores by the best match: each node counts with its most similar node opposite.

I images, C captions, R regions and W words of the largest of each, d width.
"""

import torch
from torch import Tensor

from resg.graphs.ragged import Layout
from resg.models.encoded import Encoded
from resg.transfer import to_device

BLOCK = 1 << 26
"""Cosines that are held at a time, 256 MB; a training batch of 256 has fewer."""


def best_match_scores(images: Encoded, captions: Encoded, direction: str) -> Tensor:
    """`[I, C]` float32 scores of all images with all captions (Fu et al. 2024, section 3.3).

    `mean_w max_r cos(r, w)` for `t2i`, `mean_r max_w cos(r, w)` for `i2t`, and the mean of both. An
    item without nodes scores 0. All cosines exist at once, in blocks of images: `I R C W` numbers.

    Args:
        images: with unit nodes.
        captions: with unit nodes.
        direction: `t2i`, `i2t` or `both`.
    """
    words = to_device(Layout.of(captions.ptr), captions.nodes.device)
    words_CWd = words.pad(captions.nodes.float())
    per_image = max(1, int(images.ptr.diff().max()) * words_CWd.shape[:2].numel())
    size = max(1, BLOCK // per_image)
    return torch.cat(
        [
            _scores(images.rows(start, min(start + size, len(images))), words_CWd, words, direction)
            for start in range(0, len(images), size)
        ]
    )


def _scores(images: Encoded, words_CWd: Tensor, words: Layout, direction: str) -> Tensor:
    regions = to_device(Layout.of(images.ptr), images.nodes.device)
    regions_IRd = regions.pad(images.nodes.float())
    cosines_IRCW = torch.einsum("ird,cwd->ircw", regions_IRd, words_CWd)
    ways: list[Tensor] = []
    if direction != "i2t":
        best_ICW = _largest(cosines_IRCW, regions.is_row[:, :, None, None], dim=1)
        ways.append(best_ICW.mul(words.is_row).sum(2) / words.counts.clamp_min(1))
    if direction != "t2i":
        best_IRC = _largest(cosines_IRCW, words.is_row, dim=3)
        best_IRC = best_IRC * regions.is_row[:, :, None]
        ways.append(best_IRC.sum(1) / regions.counts[:, None].clamp_min(1))
    return torch.stack(ways).mean(0)


def _largest(cosines: Tensor, is_node: Tensor, dim: int) -> Tensor:
    """The largest along a dimension, among nodes; 0 where there are none."""
    if not cosines.shape[dim]:
        return cosines.sum(dim)
    largest = cosines.masked_fill(~is_node, -2).amax(dim)  # below any cosine
    return largest.where(largest >= -1.5, 0)
