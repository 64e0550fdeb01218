from itertools import permutations
from math import comb

import numpy as np
import pytest

from resg.evaluation.chance import chance_figures
from resg.evaluation.protocols import mean_of
from resg.evaluation.ranking import score_matrix_metrics


def test_chance_is_the_mean_over_all_orders_of_the_scores():
    owner = np.array([0, 2, 1, 2, 2, 0])  # 3 images with 2, 1 and 3 captions
    orders = np.array(list(permutations(range(6))))
    own = [(owner == image)[orders] for image in range(3)]
    found = {k: 100 * np.mean([is_own[:, :k].any(1).mean() for is_own in own]) for k in (1, 5)}
    figures = chance_figures(owner, 3)
    assert figures["i2t"]["r1"] == pytest.approx(found[1])
    assert figures["i2t"]["r5"] == pytest.approx(found[5])
    assert figures["i2t"]["r10"] == figures["t2i"]["r5"] == 100
    assert figures["t2i"]["r1"] == pytest.approx(100 / 3)
    assert figures["t2i"]["medr"] == 2
    recalls = [figures[way][k] for way in ("i2t", "t2i") for k in ("r1", "r5", "r10")]
    assert figures["rsum"] == pytest.approx(sum(recalls))


def test_five_captions_an_image_give_the_binomial_formula():
    figures = chance_figures(np.repeat(np.arange(100), 5), 100)
    for k in (1, 5, 10):
        expected = 100 * (1 - comb(495, k) / comb(500, k))
        assert figures["i2t"][f"r{k}"] == pytest.approx(expected)
        assert figures["t2i"][f"r{k}"] == pytest.approx(k)
    median = next(k for k in range(1, 501) if comb(495, k) / comb(500, k) <= 0.5)
    assert figures["i2t"]["medr"] == median
    assert figures["t2i"]["medr"] == 50.5


def test_random_scores_come_out_at_chance():
    owner = np.repeat(np.arange(40), 5)
    random = np.random.default_rng(0)
    drawn = [score_matrix_metrics(random.normal(size=(40, 200)), owner) for _ in range(60)]
    rsum = mean_of([metrics.as_json() for metrics in drawn])["rsum"]
    assert rsum == pytest.approx(chance_figures(owner, 40)["rsum"], rel=0.05)
