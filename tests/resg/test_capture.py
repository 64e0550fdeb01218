"""Captured steps against the same steps launch by launch, on a GPU."""

import pytest
import torch

from resg.capture import can_capture
from resg.checkpoint import create_run
from resg.config import load_settings
from resg.distributed import Processes
from resg.experiment import resume_run, train_run
from resg.run_log import read_metrics
from resg.splits import SplitReaders
from resg.train import Trainer

GPU, CPU = torch.device("cuda"), torch.device("cpu")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
SMALL = (
    "model.width=64",
    "model.graph.heads=4",
    "model.graph.dropout=0",
    "model.text.word_width=16",
    "train.batch_size=20",  # each pass over the images ends in a batch of 8
    "train.epochs=3",
    "train.precision=bf16",
)


def small(*changes, preset="resg-gru"):
    return load_settings(preset, (*SMALL, *changes))


def make_trainer(shards, folder, settings, device=GPU):
    readers = SplitReaders.open(shards, "train")
    vocabulary = readers.vocabulary(settings)
    tables = readers.tables(settings, vocabulary, device)
    data = {"feature_width": tables.images.feature_width}
    return Trainer(create_run(folder, settings, vocabulary, data), tables, tables, device)


def losses(folder):
    return [event["loss"] for event in read_metrics(folder) if event["kind"] == "step"]


def test_only_a_gpu_alone_captures_what_does_not_change_its_shape():
    one, half = Processes(), torch.bfloat16
    assert can_capture(small(), GPU, one, half)
    assert not can_capture(small(), CPU, one, half)
    assert not can_capture(small(), GPU, Processes(0, 2), half)
    assert not can_capture(small(), GPU, one, torch.float32)
    for change in (
        "train.cuda_graphs=never",
        "train.accumulate=2",
        "model.text.encoder=bert:any",
        "model.visual_graph.edges=[predicates]",
    ):
        assert not can_capture(small(change), GPU, one, half)


def test_training_on_a_cpu_captures_nothing(shards, tmp_path):
    assert make_trainer(shards, tmp_path, small("train.precision=auto"), CPU).capacity is None


@pytest.mark.cuda
@needs_gpu
@pytest.mark.parametrize("preset", ["resg-gru", "resg-no-edges", "scan-i2t", "vse-inf"])
@pytest.mark.parametrize("drop", [0, 0.3])
def test_a_captured_step_has_the_loss_and_gradients_of_an_eager_one(preset, drop, shards, tmp_path):
    trainers = [
        make_trainer(
            shards,
            tmp_path / mode,
            small(f"train.cuda_graphs={mode}", f"train.region_drop={drop}", preset=preset),
        )
        for mode in ("never", "auto")
    ]
    for place, numbers in list(enumerate(trainers[0]._batches(0), start=1))[:3]:
        found = []
        for trainer in trainers:
            trainer.model.train()
            pairs = trainer._load((place, numbers))
            values = trainer._accumulate(pairs)
            weights = dict(trainer.matcher.named_parameters())
            gradients = {n: w.grad.clone() for n, w in weights.items() if w.grad is not None}
            trainer.optimiser.zero_grad(set_to_none=True)
            found.append((values, gradients))
        (eager, eager_gradients), (captured, captured_gradients) = found
        assert captured["loss"] == pytest.approx(eager["loss"], rel=5e-3)
        assert eager_gradients.keys() == captured_gradients.keys()
        for name, gradient in eager_gradients.items():
            error = float((captured_gradients[name] - gradient).norm())
            assert error <= 0.05 * float(gradient.norm()) + 1e-4, name
    assert trainers[0].capacity is None
    assert len(trainers[1].captured_encoders.graphs) == 1  # the third batch does not fill one
    assert len(trainers[1].captured_loss.graphs) == 1


@pytest.mark.cuda
@needs_gpu
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_captured_run_goes_as_an_eager_one(precision, shards, tmp_path):
    for mode in ("never", "auto"):
        settings = small(f"train.cuda_graphs={mode}", f"train.precision={precision}")
        train_run(shards, tmp_path / mode, settings, GPU)
    eager, captured = losses(tmp_path / "never"), losses(tmp_path / "auto")
    assert len(eager) == len(captured) == 18
    assert captured[:3] == pytest.approx(eager[:3], rel=0.01)
    assert captured[-3:] == pytest.approx(eager[-3:], rel=0.15)


@pytest.mark.cuda
@needs_gpu
def test_dropout_differs_from_replay_to_replay(shards, tmp_path):
    trainer = make_trainer(shards, tmp_path, small("model.graph.dropout=0.5"))
    trainer.model.train()
    numbers = trainer._batches(0)[0]
    pairs = trainer._load((1, numbers))
    found = {trainer._accumulate(pairs)["loss"] for _ in range(4)}
    assert len(found) == 4


@pytest.mark.cuda
@needs_gpu
def test_a_captured_run_is_resumed(shards, tmp_path):
    class KilledError(Exception):
        pass

    def kill(event):
        if event["kind"] == "step" and event["step"] == 8:
            raise KilledError

    with pytest.raises(KilledError):
        train_run(shards, tmp_path / "broken", small(), GPU, kill)
    resume_run(tmp_path / "broken", GPU)
    train_run(shards, tmp_path / "whole", small(), GPU)
    whole = losses(tmp_path / "whole")
    assert losses(tmp_path / "broken") == pytest.approx(whole, rel=0.05)
