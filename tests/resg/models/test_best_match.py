"""Scores by the best match are what the formula says, whatever the sizes and the blocks."""

import pytest
import torch

from resg.graphs.ragged import offsets
from resg.models import best_match
from resg.models.best_match import best_match_scores
from resg.models.encoded import Encoded
from resg.models.encoders import unit


def encoded(counts: list[int], seed: int) -> Encoded:
    generator = torch.Generator().manual_seed(seed)
    nodes = unit(torch.randn(sum(counts), 6, generator=generator)).requires_grad_()
    return Encoded(torch.zeros(len(counts), 6), nodes, offsets(torch.tensor(counts)))


def plain_scores(images: Encoded, captions: Encoded, direction: str) -> torch.Tensor:
    """One pair after the other."""
    rows = []
    for i in range(len(images)):
        for c in range(len(captions)):
            cosines = images.rows(i, i + 1).nodes @ captions.rows(c, c + 1).nodes.T
            if not cosines.numel():
                rows.append(cosines.sum())
                continue
            ways = {"t2i": cosines.amax(0).mean(), "i2t": cosines.amax(1).mean()}
            rows.append(ways[direction] if direction in ways else sum(ways.values()) / 2)
    return torch.stack(rows).view(len(images), len(captions))


@pytest.mark.parametrize("direction", ["t2i", "i2t", "both"])
@pytest.mark.parametrize("counts", [([3, 1, 5], [2, 4]), ([2, 2], [3, 3]), ([0, 2], [1, 0, 3])])
@pytest.mark.parametrize("block", [1, 1 << 26])
def test_scores_and_gradients_are_those_of_the_formula(direction, counts, block, monkeypatch):
    monkeypatch.setattr(best_match, "BLOCK", block)
    images, captions = encoded(counts[0], 0), encoded(counts[1], 1)
    upstream = torch.randn(len(images), len(captions))
    results = []
    for score in (best_match_scores, plain_scores):
        scores = score(images, captions, direction)
        grads = torch.autograd.grad((scores * upstream).sum(), (images.nodes, captions.nodes))
        results.append((scores, *grads))
    torch.testing.assert_close(*results)


def test_weights_are_a_softmax_over_the_nodes_of_each_item():
    images, captions = encoded([3, 1], 0), encoded([2, 4], 1)
    logits = torch.randn(4), torch.randn(6)
    scores = best_match_scores(images, captions, "both", *logits)
    cosines = images.rows(0, 1).nodes @ captions.rows(1, 2).nodes.T
    by_words = (cosines.amax(0) * logits[1][2:].softmax(0)).sum()
    by_regions = (cosines.amax(1) * logits[0][:3].softmax(0)).sum()
    torch.testing.assert_close(scores[0, 1], (by_words + by_regions) / 2)
