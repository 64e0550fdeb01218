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

NO_NODE = -1e4
"""A logit whose softmax is 0."""


def best_match_scores(
    images: Encoded,
    captions: Encoded,
    direction: str,
    region_logits: Tensor | None = None,
    word_logits: Tensor | None = None,
) -> Tensor:
    """`[I, C]` float32 scores of all images with all captions (Fu et al. 2024, section 3.3).

    `mean_w max_r cos(r, w)` for `t2i`, `mean_r max_w cos(r, w)` for `i2t`, and the mean of both. An
    item without nodes scores 0. All cosines exist at once, in blocks of images: `I R C W` numbers.

    Args:
        images: with unit nodes.
        captions: with unit nodes.
        direction: `t2i`, `i2t` or `both`.
        region_logits: `[M]`, whose softmax over an image's regions weighs them in the mean; None
            for equal weights.
        word_logits: the same of words.
    """
    words = to_device(Layout.of(captions.ptr), captions.nodes.device)
    words_CWd = words.pad(captions.nodes.float())
    word_weights_CW = node_weights(word_logits, words)
    per_image = max(1, int(images.ptr.diff().max()) * words_CWd.shape[:2].numel())
    size = max(1, BLOCK // per_image)
    scores = []
    for start in range(0, len(images), size):
        end = min(start + size, len(images))
        some = images.rows(start, end)
        regions = to_device(Layout.of(some.ptr), some.nodes.device)
        cosines_IRCW = torch.einsum("ird,cwd->ircw", regions.pad(some.nodes.float()), words_CWd)
        ways: list[Tensor] = []
        if direction != "i2t":
            best_ICW = _largest(cosines_IRCW, regions.is_row[:, :, None, None], dim=1)
            ways.append((best_ICW * word_weights_CW).sum(2))
        if direction != "t2i":
            best_IRC = _largest(cosines_IRCW, words.is_row, dim=3)
            rows = slice(int(images.ptr[start]), int(images.ptr[end]))
            weights_IR = node_weights(
                None if region_logits is None else region_logits[rows], regions
            )
            ways.append((best_IRC * weights_IR[:, :, None]).sum(1))
        scores.append(torch.stack(ways).mean(0))
    return torch.cat(scores)


def node_weights(logits_M: Tensor | None, layout: Layout) -> Tensor:
    """`[N, L]` weights of an item's nodes, whose sum is 1; 0 of those that are not there."""
    is_row_NL = layout.is_row
    if logits_M is None:
        return is_row_NL / layout.counts[:, None].clamp_min(1)
    logits_NL = layout.pad(logits_M.float(), value=NO_NODE)
    return logits_NL.softmax(1) * is_row_NL


def _largest(cosines: Tensor, is_node: Tensor, dim: int) -> Tensor:
    """The largest along a dimension, among nodes; 0 where there are none."""
    if not cosines.shape[dim]:
        return cosines.sum(dim)
    largest = cosines.masked_fill(~is_node, -2).amax(dim)  # below any cosine
    return largest.where(largest >= -1.5, 0)
