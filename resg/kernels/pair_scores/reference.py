"""Pair scores as the published formulas say them; every other backend is tested against this.

Stacked cross attention, Lee et al. 2018 (arXiv:1803.08024), equations 1 to 10: each node of one
side attends to the nodes of the other, the attended vector is formed, and compared by cosine.
"""

from itertools import pairwise

import torch
from torch import Tensor

from resg.kernels.pair_scores.checks import PairInputs
from resg.kernels.pair_scores.settings import PairSettings

NORM_FLOOR = 1e-8  # added to the norm of logits, and the least product of norms in a cosine


def reference_pair_scores(inputs: PairInputs) -> Tensor:
    """Score every image with every caption, one pair after another; autograd differentiates it.

    Returns:
        `[images, captions]` in the nodes' own floating type (float64 stays float64).
    """
    regions, words = inputs.regions, inputs.words
    region_bounds, word_bounds = inputs.region_ptr.tolist(), inputs.word_ptr.tolist()
    rows = []
    for first_region, last_region in pairwise(region_bounds):
        row = [
            pair_score(regions[first_region:last_region], words[first:last], inputs.settings)
            for first, last in pairwise(word_bounds)
        ]
        rows.append(torch.stack(row) if row else regions.new_zeros(0))
    return torch.stack(rows) if rows else regions.new_zeros(inputs.shape)


def pair_score(image_regions: Tensor, caption_words: Tensor, settings: PairSettings) -> Tensor:
    """Score of one image `[R, d]` with one caption `[W, d]`; 0 where either has no node."""
    if len(image_regions) == 0 or len(caption_words) == 0:
        return image_regions.new_zeros(())
    words_attend, regions_attend = settings.temperatures
    scores = []
    if settings.words_attend:
        cosines = attended_cosines(caption_words, image_regions, words_attend, settings.normalise)
        scores.append(pooled(cosines, settings))
    if settings.regions_attend:
        cosines = attended_cosines(image_regions, caption_words, regions_attend, settings.normalise)
        scores.append(pooled(cosines, settings))
    return torch.stack(scores).mean()


def attended_cosines(query: Tensor, context: Tensor, temperature: float, normalise: str) -> Tensor:
    """Cosine of each query node `[Q, d]` with the nodes `[K, d]` that it attends to: `[Q]`."""
    attended = attention(query, context, temperature, normalise).T @ context
    norms = torch.linalg.vector_norm(query, dim=1) * torch.linalg.vector_norm(attended, dim=1)
    return (query * attended).sum(1) / norms.clamp(min=NORM_FLOOR)


def attention(query: Tensor, context: Tensor, temperature: float, normalise: str) -> Tensor:
    """`[K, Q]` attention of each query node `[Q, d]` over the nodes `[K, d]`; columns add up to 1.

    `clipped_l2` divides LeakyReLU(logits) by their norm over the *queries* (equation 1 of Lee et
    al. with the leak of 0.1 of their released code), before the softmax over the context.
    """
    logits = context @ query.T
    if normalise == "clipped_l2":
        logits = torch.nn.functional.leaky_relu(logits, 0.1)
        norm = torch.linalg.vector_norm(logits, dim=1, keepdim=True)
        logits = logits / (norm + NORM_FLOOR)
    return torch.softmax(temperature * logits, dim=0)


def pooled(cosines: Tensor, settings: PairSettings) -> Tensor:
    """Mean of the cosines, or their log-sum-exp (equation 9 of Lee et al.)."""
    if settings.pooling == "mean":
        return cosines.mean()
    return torch.logsumexp(settings.lambda_lse * cosines, dim=0) / settings.lambda_lse
