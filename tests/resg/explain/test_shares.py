"""Shares add up to the node-level score, whatever the preset's attention and pooling are."""

import itertools

import pytest
import torch

from resg.explain.shares import node_shares
from resg.kernels.pair_scores import pair_scores
from resg.kernels.pair_scores.reference import attention
from resg.kernels.pair_scores.settings import PairSettings
from resg.models.encoders import unit


def nodes(num_regions=7, num_words=4, width=16, seed=0):
    random = torch.Generator().manual_seed(seed)
    return (
        unit(torch.randn(num_regions, width, generator=random)),
        unit(torch.randn(num_words, width, generator=random)),
    )


def score(regions, words, settings):
    ptrs = torch.tensor([0, len(regions)]), torch.tensor([0, len(words)])
    direction, temperatures, normalise, pooling, lambda_lse = settings.values()
    return pair_scores(
        regions,
        words,
        *ptrs,
        direction=direction,
        temperatures=temperatures,
        normalise=normalise,
        pooling=pooling,
        lambda_lse=lambda_lse,
    ).item()


@pytest.mark.parametrize(
    ("direction", "normalise", "pooling"),
    list(itertools.product(("both", "t2i", "i2t"), ("plain", "clipped_l2"), ("mean", "lse"))),
)
def test_shares_add_up_to_the_score_that_the_kernel_gives(direction, normalise, pooling):
    settings = PairSettings(direction, normalise=normalise, pooling=pooling)
    for seed in range(5):
        regions, words = nodes(seed=seed)
        shares = node_shares(regions, words, settings)
        assert shares.total.sum().item() == pytest.approx(score(regions, words, settings), abs=1e-5)
        assert shares.words.sum().item() == pytest.approx(shares.regions.sum().item(), abs=1e-12)


def test_each_direction_is_half_of_the_score():
    regions, words = nodes()
    both = node_shares(regions, words, PairSettings())
    words_alone = node_shares(regions, words, PairSettings("t2i"))
    regions_alone = node_shares(regions, words, PairSettings("i2t"))
    torch.testing.assert_close(2 * both.words_attend, words_alone.total)
    torch.testing.assert_close(2 * both.regions_attend, regions_alone.total)


def test_a_word_s_share_is_split_by_its_attention():
    regions, words = nodes()
    shares = node_shares(regions, words, PairSettings("t2i")).total
    weights = attention(words.double(), regions.double(), 9.0, "plain")
    torch.testing.assert_close(shares, weights * shares.sum(0))


def test_the_region_that_a_word_names_has_most_of_its_share():
    regions = torch.eye(8)[:5]
    words = torch.eye(8)[[3, 1]]
    shares = node_shares(regions, words, PairSettings()).total
    assert shares.argmax(0).tolist() == [3, 1]


@pytest.mark.parametrize("empty", [(0, 4), (7, 0)])
def test_a_side_without_nodes_is_refused(empty):
    with pytest.raises(ValueError, match="expected regions and words"):
        node_shares(*nodes(*empty), PairSettings())
