from dataclasses import replace

import numpy as np
import pytest
import torch

from resg.evaluation.ranking import score_matrix_metrics
from resg.jobs import train_run
from resg.presets import load_settings
from resg.training.alarms import (
    WINDOW,
    CollapseAlarm,
    TrainingError,
    check_chance,
    check_finite,
    spread,
)
from resg.training.checkpoint import last_checkpoint

CPU = torch.device("cpu")
PAIRS, MARGIN = 16, 0.2
COLLAPSED = MARGIN


def watch(steps, triplet=COLLAPSED, deviation=0.0, variance=0.5, *changes):
    alarm = CollapseAlarm(load_settings("resg-gru", changes).loss)
    for _ in range(steps):
        alarm.check(triplet, PAIRS, deviation, variance)


def test_a_hundred_steps_of_equal_scores_are_a_collapse():
    watch(WINDOW - 1)
    with pytest.raises(TrainingError, match="collapsed") as caught:
        watch(WINDOW)
    assert "1.000 of its margin" in str(caught.value)
    assert "--set loss.hardest_after=recall" in str(caught.value)


def test_embeddings_that_became_one_point_are_a_collapse_whatever_the_loss_is():
    with pytest.raises(TrainingError, match=r"variance 1\.0e-06"):
        watch(WINDOW, COLLAPSED / 3, 0.3, 1e-6)


@pytest.mark.parametrize(
    ("triplet", "deviation"),
    [
        (0.9 * COLLAPSED, 0.0),  # the loss falls
        (COLLAPSED, MARGIN / 20),  # hardest negatives score as matches do, but scores differ
    ],
)
def test_no_collapse_where_the_loss_falls_or_scores_differ(triplet, deviation):
    watch(3 * WINDOW, triplet, deviation)


def test_a_run_without_the_triplet_loss_has_no_such_alarm():
    watch(2 * WINDOW, 0.0, 0.0, 0.0, "loss.triplet_weight=0")


def test_spread_of_equal_and_of_opposite_rows():
    scores, embeddings = torch.tensor([[1.0, 3.0]]), torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    deviation, variance = spread(scores, embeddings)
    assert (deviation.item(), variance.item()) == (1.0, 1.0)
    assert spread(torch.ones(2, 2), torch.ones(3, 4)) == (0.0, 0.0)


def test_a_loss_that_is_not_finite_names_batch_and_tensors():
    model = torch.nn.Linear(2, 2)
    parts = {"features": torch.ones(2), "scores": torch.tensor([1.0, float("nan")])}
    names = ["a#0", "b#0", "c#0", "d#0", "e#0"]
    check_finite(0.5, parts, model, 3, names)
    with torch.no_grad():
        model.bias[1] = float("inf")
    with pytest.raises(TrainingError) as caught:
        check_finite(float("nan"), parts, model, 3, names)
    told = str(caught.value)
    assert "the loss is nan at step 3; not finite: scores, bias." in told
    assert "captions a#0, b#0, c#0 and 2 more" in told
    assert "train.precision=fp32" in told


def test_training_that_blows_up_stops_and_keeps_its_last_checkpoint(shards, tmp_path):
    changes = ("model.width=16", "model.text.word_width=8", "train.batch_size=16")
    blown_up = load_settings(
        "vse++",
        (*changes, "train.learning_rate=1e30", "train.weight_decay=0.01", "loss.hardest_after=1"),
    )
    with pytest.raises(TrainingError, match=r"not finite: .*The batch holds captions train-\d+#"):
        train_run(shards, tmp_path / "run", blown_up, CPU)
    train_run(shards, tmp_path / "good", load_settings("vse++", (*changes, "train.epochs=1")), CPU)
    assert last_checkpoint(tmp_path / "good").name == "last-00000006"


def test_a_run_on_pairs_that_are_all_equal_collapses(world, tmp_path):
    for number, (split, count) in enumerate((("train", 48), ("val", 12))):
        images, captions = world.make_split(split, count, number)
        equal = [replace(image, features=images[0].features) for image in images]
        words = [replace(caption, forms=captions[0].forms) for caption in captions]
        world.write_split(tmp_path / "s", number, split, equal, words)
    changes = ("model.width=16", "model.text.word_width=8", "train.batch_size=16")
    settings = load_settings("vse++", (*changes, "train.learning_rate=0.003"))
    with pytest.raises(TrainingError, match=r"collapsed: .*of its margin"):
        train_run(tmp_path / "s", tmp_path / "run", settings, CPU)


def test_recall_at_chance_after_the_first_steps_raises_the_alarm():
    owner = np.repeat(np.arange(40), 5)
    guessing = score_matrix_metrics(np.zeros((40, 200)), owner)
    with pytest.raises(TrainingError, match=r"R.* is 0\.00, chance is 2\.50") as caught:
        check_chance(guessing, 2000, 2000)
    assert "pipeline verify" in str(caught.value)
    check_chance(guessing, 1999, 2000)  # too early to tell
    matched = score_matrix_metrics((np.arange(40)[:, None] == owner).astype(float), owner)
    check_chance(matched, 2000, 2000)
    few = score_matrix_metrics(np.zeros((4, 4)), np.arange(4))
    check_chance(few, 2000, 2000)  # of so few images no share means anything
