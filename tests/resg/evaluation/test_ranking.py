import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resg.evaluation.ranking import ScoreError, caption_ranks, image_ranks, score_matrix_metrics


def plain_ranks(scores, owner):
    """The definition, in loops."""
    images, captions = scores.shape
    i2t = []
    for i in range(images):
        best = max(scores[i][c] for c in range(captions) if owner[c] == i)
        i2t.append(sum(1 for c in range(captions) if owner[c] != i and scores[i][c] >= best))
    t2i = []
    for c in range(captions):
        own = scores[owner[c]][c]
        t2i.append(sum(1 for i in range(images) if i != owner[c] and scores[i][c] >= own))
    return i2t, t2i


@pytest.mark.parametrize("seed", range(200))
def test_ranks_match_the_definition_with_ties(seed):
    random = np.random.default_rng(seed)
    images = int(random.integers(1, 9))
    owner = np.concatenate([np.arange(images), random.integers(0, images, random.integers(0, 20))])
    random.shuffle(owner)
    scores = random.integers(0, 4, (images, len(owner))).astype(np.float32)  # few values: many ties
    i2t, t2i = plain_ranks(scores, owner)
    assert image_ranks(scores, owner).tolist() == i2t
    assert caption_ranks(scores, owner).tolist() == t2i


@given(st.integers(2, 12), st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_equal_scores_give_no_recall_at_all_below_the_number_of_rivals(images, per_image):
    owner = np.repeat(np.arange(images), per_image)
    metrics = score_matrix_metrics(np.zeros((images, len(owner)), np.float32), owner)
    assert metrics.i2t.recall[1] == metrics.t2i.recall[1] == 0
    assert metrics.t2i.mean_rank == images


def test_a_perfect_matrix_gives_rsum_600():
    owner = np.repeat(np.arange(4), 5)
    scores = (np.arange(4)[:, None] == owner).astype(np.float32)
    metrics = score_matrix_metrics(scores, owner)
    assert metrics.rsum == 600
    assert metrics.i2t.median_rank == metrics.t2i.median_rank == 1


def test_recalls_of_a_matrix_worked_by_hand():
    # image 0: own best 0.9, rivals 0.95 -> rank 1; image 1: own best 0.8, rivals 0.1 -> rank 0
    scores = np.array([[0.9, 0.2, 0.95], [0.1, 0.05, 0.8]])
    metrics = score_matrix_metrics(scores, np.array([0, 0, 1]))
    assert metrics.i2t.recall == {1: 50.0, 5: 100.0, 10: 100.0}
    # captions: 0.9 > 0.1 first; 0.2 > 0.05 first; 0.8 < 0.95 second
    assert metrics.t2i.recall[1] == pytest.approx(200 / 3)
    assert metrics.t2i.mean_rank == pytest.approx(4 / 3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_an_error_that_says_where(bad):
    scores = np.ones((2, 2))
    scores[1, 0] = bad
    with pytest.raises(ScoreError, match="image 1 and caption 0"):
        score_matrix_metrics(scores, np.array([0, 1]))


@pytest.mark.parametrize(
    ("scores", "owner", "message"),
    [
        (np.ones((2, 3)), np.array([0, 1]), "expected a matrix of images x 2 captions"),
        (np.ones((2, 2)), np.array([0, 0]), "expected a caption for every image"),
        (np.ones((2, 2)), np.array([0, 2]), "expected captions of images 0 to 1"),
        (np.ones((0, 0)), np.array([], dtype=int), "expected a caption for every image"),
    ],
)
def test_a_matrix_that_does_not_fit_is_refused(scores, owner, message):
    with pytest.raises(ScoreError, match=message):
        score_matrix_metrics(scores, owner)
