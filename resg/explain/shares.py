"""Shares of the node-level score of one pair: which words and which regions it comes from.

R regions, W words, d width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from resg.kernels.pair_scores.reference import attended_cosines, attention, pooled
from resg.kernels.pair_scores.settings import PairSettings


@dataclass(frozen=True)
class NodeShares:
    """The node-level score of a pair, split over its words and regions.

    All shares add up to the score. They are float64 and may be negative.

    Attributes:
        words_attend: `[R, W]` half of the words that attend to regions.
        regions_attend: `[R, W]` half of the regions that attend to words.
    """

    words_attend: Tensor
    regions_attend: Tensor

    @property
    def total(self) -> Tensor:
        """`[R, W]` share of each region with each word."""
        return self.words_attend + self.regions_attend

    @property
    def words(self) -> Tensor:
        """`[W]` share of each word."""
        return self.total.sum(0)

    @property
    def regions(self) -> Tensor:
        """`[R]` share of each region."""
        return self.total.sum(1)


def node_shares(regions_Rd: Tensor, words_Wd: Tensor, settings: PairSettings) -> NodeShares:
    """Split the node-level score of one pair over its words and regions.

    A word that attends has its share of the pooled score: its cosine over the number of words, or,
    for the log-sum-exp, its weight in the softmax of the scaled cosines (the weighted shares then
    add up to the log-sum-exp, which is no sum by itself). This share is split over the regions by
    the word's attention. Regions that attend to words are treated alike; where both directions
    count, each is half of the score.

    Args:
        regions_Rd: nodes of the image.
        words_Wd: nodes of the caption.
        settings: how they are compared.

    Raises:
        ValueError: there is no region or no word.

    Example:
        >>> shares = node_shares(torch.eye(2), torch.eye(2)[:1], PairSettings())
        >>> shares.total.shape, bool(shares.regions[0] > shares.regions[1])
        (torch.Size([2, 1]), True)
    """
    regions, words = regions_Rd.double(), words_Wd.double()
    if not len(regions) or not len(words):
        raise ValueError(f"expected regions and words, got {len(regions)} and {len(words)}.")
    of_words, of_regions = settings.temperatures
    nothing_RW = regions.new_zeros((len(regions), len(words)))
    words_attend_RW = regions_attend_RW = nothing_RW
    if settings.words_attend:
        words_attend_RW = _attending_shares(words, regions, of_words, settings)
    if settings.regions_attend:
        regions_attend_RW = _attending_shares(regions, words, of_regions, settings).T
    if settings.words_attend and settings.regions_attend:
        return NodeShares(words_attend_RW / 2, regions_attend_RW / 2)
    return NodeShares(words_attend_RW, regions_attend_RW)


def _attending_shares(
    query: Tensor, context: Tensor, temperature: float, settings: PairSettings
) -> Tensor:
    """`[K, Q]` shares of the pooled cosines of `[Q, d]` nodes that attend to `[K, d]` others."""
    cosines = attended_cosines(query, context, temperature, settings.normalise)
    if settings.pooling == "mean":
        shares = cosines / len(cosines)
    else:
        shares = torch.softmax(settings.lambda_lse * cosines, 0) * pooled(cosines, settings)
    return attention(query, context, temperature, settings.normalise) * shares
