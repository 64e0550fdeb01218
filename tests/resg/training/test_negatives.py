"""The schedule of negatives follows the recall of training batches, or epochs."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resg.config import LossSettings
from resg.training.negatives import READY, NegativeSchedule


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
    schedule.recall = 0.5
    assert [schedule.hardness(step) for step in (0, 14, 15, 99)] == [0, 0, 1, 1]
    assert not schedule.can_collapse(14)
    assert schedule.can_collapse(15)


@given(st.lists(st.floats(0, 1), max_size=400), st.sampled_from(["recall", 0.0, 1.0]))
def test_a_model_that_ranks_nothing_never_meets_the_hardest_alone(recalls, hardest_after):
    settings = LossSettings(hardest_after=hardest_after)
    schedule = NegativeSchedule(settings, steps_per_epoch=10)
    for step, recall in enumerate(recalls):
        schedule.update(recall)
        hardness = schedule.hardness(step)
        assert 0 <= hardness <= 1
        assert schedule.recall <= max(recalls)
        if hardest_after == "recall":
            assert hardness == schedule.recall
        else:
            assert hardness == (schedule.recall >= READY and step >= 10 * hardest_after)
    for _ in range(700):
        schedule.update(0.0)
    assert schedule.hardness(10**6) < 0.01
