import pytest

from resg.presets import load_settings
from resg.training.optimiser import learning_rate_share


def test_the_learning_rate_rises_stays_and_decays_once():
    changes = ("train.warmup_steps=4", "train.decay_after=0.6", "train.decay=0.2")
    train = load_settings("vse++", changes).train
    shares = [learning_rate_share(train, step, 10) for step in range(10)]
    assert shares == [0.25, 0.5, 0.75, 1, 1, 1, 0.2, 0.2, 0.2, 0.2]


def test_the_learning_rate_falls_along_half_a_cosine():
    changes = ("train.warmup_steps=2", "train.schedule=cosine")
    train = load_settings("vse++", changes).train
    shares = [learning_rate_share(train, step, 10) for step in range(11)]
    assert shares[:3] == [0.5, 1, 1]
    assert shares[6] == pytest.approx(0.5)
    assert shares[10] == pytest.approx(0)
    assert shares[2:] == sorted(shares[2:], reverse=True)
