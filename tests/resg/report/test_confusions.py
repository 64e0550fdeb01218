import numpy as np

from resg.report.charts import rank_shares
from resg.report.confusions import worst_captions, worst_images

# images x captions; captions 0 and 1 are of image 0, 2 of image 1, 3 of image 2
SCORES = np.array(
    [
        [0.9, 0.1, 0.3, 0.2],
        [0.2, 0.6, 0.8, 0.2],
        [0.1, 0.4, 0.7, 0.2],
    ]
)
OWNERS = np.array([0, 0, 1, 2])


def test_captions_are_sorted_by_how_far_the_wrong_image_is_above():
    first, second = worst_captions(SCORES, OWNERS, 5)
    assert (first.query, first.right, first.wrong, first.rank) == (1, 0, 1, 3)
    assert (first.right_score, first.wrong_score) == (0.1, 0.6)
    assert second.query == 3  # equal scores count against the run
    assert second.rank == 3


def test_images_are_compared_by_their_best_own_caption():
    (only,) = worst_images(SCORES, OWNERS, 5)
    assert (only.query, only.right, only.wrong, only.rank) == (2, 3, 2, 3)


def test_no_more_than_asked_for():
    assert [each.query for each in worst_captions(SCORES, OWNERS, 1)] == [1]


def test_shares_of_ranks_add_up_to_all():
    shares = rank_shares(np.array([0, 0, 1, 4, 5, 9, 10, 99, 100, 5000]))
    assert list(shares.items()) == [
        ("1", 20.0),
        ("2-5", 20.0),
        ("6-10", 20.0),
        ("11-50", 10.0),
        ("51-100", 10.0),
        ("> 100", 20.0),
    ]
