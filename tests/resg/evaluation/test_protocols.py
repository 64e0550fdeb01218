import numpy as np
import pytest

from resg.errors import SettingsError
from resg.evaluation.chance import chance_figures
from resg.evaluation.protocols import deviation_of, evaluate_scores, mean_of
from resg.evaluation.ranking import ScoreError, score_matrix_metrics


def random_scores(images, seed=0):
    owner = np.repeat(np.arange(images), 5)
    scores = np.random.default_rng(seed).normal(size=(images, 5 * images)).astype(np.float32)
    scores[owner, np.arange(5 * images)] += 1.5
    return scores, owner


def test_the_full_protocol_ranks_all_together():
    scores, owner = random_scores(30)
    figures = evaluate_scores(scores, owner, "full").as_json()
    assert figures == {
        "protocol": "full",
        "images": 30,
        "captions": 150,
        "chance": chance_figures(owner, 30),
        **score_matrix_metrics(scores, owner).as_json(),
    }
    assert figures["i2t"]["queries"] == 30
    assert figures["t2i"]["queries"] == 150


def test_1k_takes_the_first_thousand_and_5x1k_the_mean_of_five_folds():
    images = 5000
    owner = np.repeat(np.arange(images), 2)
    # images of fold f are outscored by f images of their own fold and by all of other folds
    scores = np.full((images, len(owner)), 9, np.float32)
    for fold in range(5):
        rows = slice(1000 * fold, 1000 * (fold + 1))
        own = scores[rows, 2000 * fold : 2000 * (fold + 1)]
        own[:] = 0
        places = np.arange(1000)
        for caption in (0, 1):
            own[places, 2 * places + caption] = 1
            for rival in range(1, fold + 1):
                own[(places + rival) % 1000, 2 * places + caption] = 2
    first = evaluate_scores(scores, owner, "1k").as_json()
    assert first["rsum"] == 600
    assert first["t2i"]["queries"] == 2000
    assert (first["images"], first["captions"]) == (1000, 2000)
    folds = evaluate_scores(scores, owner, "5x1k")
    assert (folds.as_json()["images"], folds.as_json()["captions"]) == (5000, 10000)
    assert folds.chance["rsum"] == pytest.approx(
        first["chance"]["rsum"]
    )  # each fold has a thousand images too
    assert [fold.t2i.recall[1] for fold in folds.folds] == [100, 0, 0, 0, 0]
    assert [fold.t2i.median_rank for fold in folds.folds] == [1, 2, 3, 4, 5]
    assert folds.as_json()["t2i"]["medr"] == 3
    assert folds.as_json()["t2i"]["r5"] == 100


@pytest.mark.parametrize(("protocol", "needed"), [("1k", 1000), ("5x1k", 5000)])
def test_a_protocol_that_needs_more_images_says_so(protocol, needed):
    with pytest.raises(SettingsError, match=f"{protocol} needs {needed} images, there are 30"):
        evaluate_scores(*random_scores(30), protocol)


def test_means_and_deviations_worked_by_hand():
    figures = [{"protocol": "full", "rsum": r, "i2t": {"r1": r / 10}} for r in (10.0, 20.0, 60.0)]
    assert mean_of(figures) == {"rsum": 30.0, "i2t": {"r1": 3.0}}
    assert deviation_of(figures)["rsum"] == pytest.approx(26.457513)  # sqrt((400 + 100 + 900) / 2)
    assert deviation_of(figures[:1])["rsum"] == 0


@pytest.mark.parametrize("protocol", ["1k", "5x1k"])
def test_a_nan_outside_all_folds_is_an_error_too(protocol):
    owner = np.arange(5000)
    scores = np.zeros((5000, 5000), np.float16)
    scores[4000, 10] = np.nan
    with pytest.raises(ScoreError, match="image 4000 and caption 10"):
        evaluate_scores(scores, owner, protocol)
