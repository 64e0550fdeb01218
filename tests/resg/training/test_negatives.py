"""The schedule of negatives follows the recall of training batches, or epochs."""

import itertools

import pytest

from resg.config import LossSettings
from resg.training.negatives import NegativeSchedule


def after(recalls, settings=None):
    schedule = NegativeSchedule(settings or LossSettings(), steps_per_epoch=10)
    for recall in recalls:
        schedule.update(recall)
    return schedule.hardness(len(recalls))


def test_negatives_are_easy_at_first_and_as_hard_as_recall_is_in_the_end():
    assert after([]) == 0
    assert after([0.7] * 2000) == pytest.approx(0.7)
    assert after([1.0] * 2000) == pytest.approx(1.0)


def test_hardness_is_monotone_in_every_recall_so_far_and_bounded():
    for recalls in itertools.product((0.0, 0.3, 1.0), repeat=4):
        assert 0 <= after(recalls) <= max(recalls)
        for place in range(4):
            better = [*recalls]
            better[place] = 1.0
            assert after(better) >= after(recalls)


def test_negatives_get_easier_again_where_training_fails():
    assert after([0.8] * 500 + [0.0] * 500) < 0.01


def test_a_restored_recall_continues_bit_for_bit():
    recalls = [0.1 * k for k in range(9)]
    whole = NegativeSchedule(LossSettings(), 10)
    for recall in recalls:
        whole.update(recall)
    first, second = NegativeSchedule(LossSettings(), 10), NegativeSchedule(LossSettings(), 10)
    for recall in recalls[:5]:
        first.update(recall)
    second.recall = first.recall
    for recall in recalls[5:]:
        second.update(recall)
    assert second.hardness(9) == whole.hardness(9)


def test_a_number_of_epochs_sums_violations_and_then_takes_the_hardest():
    settings = LossSettings(hardest_after=1.5)
    schedule = NegativeSchedule(settings, steps_per_epoch=10)
    schedule.update(1.0)  # is not looked at
    assert [schedule.hardness(step) for step in (0, 14, 15, 99)] == [0, 0, 1, 1]
    assert not schedule.can_collapse(14)
    assert schedule.can_collapse(15)
    assert NegativeSchedule(LossSettings(hardest_after=0), 10).hardness(0) == 1
