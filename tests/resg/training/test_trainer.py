import json
import threading

import pytest
import torch

import resg
from resg.errors import ResgError
from resg.jobs import evaluate_runs, resume_run, train_run
from resg.presets import load_settings, preset_names
from resg.run_folder import load_matcher, open_run
from resg.training.run_log import read_metrics

CPU = torch.device("cpu")
SMALL = (
    "model.width=32",
    "model.graph.heads=4",
    "model.text.word_width=16",
    "train.batch_size=16",
    "train.epochs=2",
    "train.learning_rate=0.003",
)


def small(preset="resg-gru", *changes):
    return load_settings(preset, (*SMALL, *changes))


@pytest.mark.parametrize("preset", [p for p in preset_names() if p != "resg-bert"])
def test_every_preset_learns_to_match(preset, shards, tmp_path):
    before = train_run(shards, tmp_path / "one", small(preset, "train.epochs=1"), CPU)
    after = train_run(
        shards, tmp_path / "run", small(preset, "train.epochs=30", "loss.hardest_after=20"), CPU
    )
    assert after.rsum > before.rsum
    figures = evaluate_runs([tmp_path / "run"], "test", "full", CPU)
    assert figures["t2i"]["r5"] > 100 * 5 / 12 + 10  # guessing finds 5 of 12


def test_a_run_folder_is_whole(shards, tmp_path):
    train_run(shards, tmp_path / "run", small(), CPU)
    names = {path.name for path in (tmp_path / "run").iterdir()} - {"tensorboard"}
    assert names == {
        "run.json",
        "vocabulary.json",
        "metrics.jsonl",
        "best.safetensors",
        "last-00000012",
        "curves.png",
    }
    content = json.loads((tmp_path / "run" / "run.json").read_text())
    assert content["settings"]["train"]["seed"] == 0
    assert content["versions"]["torch"] == torch.__version__
    assert set(content["data"]["hashes"]) == {"regions-00000.h5", "captions-00000.h5"}


def without_times(events):
    return [{k: v for k, v in event.items() if k != "pairs_per_second"} for event in events]


@pytest.mark.parametrize(
    "changes",
    [
        (),
        (
            "train.ema=0.9",
            "train.region_drop=0.2",
            "train.captions_per_image=2",
            "loss.swap_weight=0.5",
            "loss.phrase_weight=0.5",
        ),
    ],
)
def test_a_resumed_run_is_bit_equal_to_the_unbroken_one(changes, shards, train_until, tmp_path):
    settings = small("resg-gru", "train.epochs=4", "train.word_drop=0.1", *changes)
    train_run(shards, tmp_path / "whole", settings, CPU)
    train_until(shards, tmp_path / "broken", settings, 14)  # in the middle of the third epoch
    resume_run(tmp_path / "broken", CPU)
    whole, broken = (read_metrics(tmp_path / name) for name in ("whole", "broken"))
    assert without_times(broken) == without_times(whole)
    assert len({event["step"] for event in whole if event["kind"] == "step"}) == 24
    first, second = (load_matcher(open_run(tmp_path / n), CPU) for n in ("whole", "broken"))
    for (name, a), b in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_features_are_standardised_by_the_training_split(shards, tmp_path):
    train_run(
        shards,
        tmp_path / "run",
        small("vse++", "model.image.standardise=true", "train.ema=0.9"),
        CPU,
    )
    matcher = load_matcher(open_run(tmp_path / "run"), CPU)
    regions = resg.load(tmp_path / "run", device="cpu").regions("train")
    features = torch.cat([torch.from_numpy(image.features.astype("float32")) for image in regions])
    standard = matcher.regions.standardise(features)
    torch.testing.assert_close(standard.mean(0), torch.zeros(16), atol=1e-3, rtol=0)
    torch.testing.assert_close(standard.std(0, correction=0), torch.ones(16), atol=1e-3, rtol=0)


def test_a_run_is_never_overwritten(shards, tmp_path):
    train_run(shards, tmp_path / "run", small("vse++", "train.epochs=1"), CPU)
    with pytest.raises(ResgError, match="holds a run already"):
        train_run(shards, tmp_path / "run", small("vse++", "train.epochs=1"), CPU)


def test_training_stops_when_validation_stops_getting_better(shards, tmp_path):
    settings = small("vse++", "train.epochs=50", "train.patience=2", "train.learning_rate=1e-7")
    train_run(shards, tmp_path / "run", settings, CPU)
    validations = [e for e in read_metrics(tmp_path / "run") if e["kind"] == "validation"]
    assert 3 <= len(validations) < 50
    assert max(e["rsum"] for e in validations[-2:]) <= max(e["rsum"] for e in validations[:-2])


def test_accumulated_gradients_make_fewer_steps(shards, tmp_path):
    settings = small("vse++", "train.epochs=1", "train.accumulate=3")
    train_run(shards, tmp_path / "run", settings, CPU)
    steps = [e for e in read_metrics(tmp_path / "run") if e["kind"] == "step"]
    assert [e["step"] for e in steps] == [0, 1]  # six batches


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("preset", ["resg-gru", "scan-t2i"])
def test_half_precision_trains_close_to_single_precision(precision, preset, shards, tmp_path):
    for name in ("fp32", precision):
        settings = small(preset, f"train.precision={name}", "model.graph.dropout=0")
        train_run(shards, tmp_path / name, settings, CPU)
    losses = [
        [e["loss"] for e in read_metrics(tmp_path / name) if e["kind"] == "step"]
        for name in ("fp32", precision)
    ]
    # fp16 leaves out its first steps, until the scale of its gradients fits
    assert losses[1][0] == pytest.approx(losses[0][0], rel=0.01)
    assert losses[1][0] != losses[0][0]
    assert losses[1][-1] == pytest.approx(losses[0][-1], rel=0.2)


def test_gradients_are_clipped_to_a_norm(shards, tmp_path):
    def moved(clip):
        """How far the farthest weight goes in an epoch, with a learning rate of 0.003."""
        changes = ("train.epochs=1", "train.weight_decay=0", f"train.clip={clip}")
        train_run(shards, tmp_path / f"{clip}", small("vse++", *changes), CPU)
        run = open_run(tmp_path / f"{clip}")
        torch.manual_seed(run.settings.train.seed)  # as the run's weights were made
        begun, trained = run.make_matcher().state_dict(), load_matcher(run, CPU).state_dict()
        return max((trained[name] - begun[name]).abs().max().item() for name in begun)

    assert moved(2.0) > 1e-3
    assert moved(1e-13) < 1e-5  # AdamW's 1e-8 beside the root of the squares leaves nothing of it


def test_metrics_go_to_tensorboard_where_it_is_installed(shards, tmp_path):
    event_file = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train_run(shards, tmp_path / "run", small("vse++"), CPU)
    board = event_file.EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    steps = [e for e in read_metrics(tmp_path / "run") if e["kind"] == "step"]
    shown = [(event.step, event.value) for event in board.Scalars("step/loss")]
    assert shown == [(e["step"], pytest.approx(e["loss"])) for e in steps]
    assert len(board.Scalars("validation/rsum")) == 2


def test_an_error_in_training_leaves_no_thread_of_tensorboard(shards, tmp_path):
    pytest.importorskip("tensorboard")
    before = set(threading.enumerate())

    def stop(event):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_run(shards, tmp_path / "run", small("vse++"), CPU, on_event=stop)
    assert set(threading.enumerate()) <= before


def test_the_best_weights_are_those_of_the_best_validation(shards, tmp_path):
    settings = small("vse++", "train.epochs=6", "train.learning_rate=0.02", "train.decay_after=1")
    train_run(shards, tmp_path / "run", settings, CPU)
    rsums = [e["rsum"] for e in read_metrics(tmp_path / "run") if e["kind"] == "validation"]
    assert evaluate_runs([tmp_path / "run"], "val", "full", CPU)["rsum"] == max(rsums)
