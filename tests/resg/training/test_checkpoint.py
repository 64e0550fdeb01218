import json
import shutil

import pytest
import torch
from safetensors import safe_open

from resg import files
from resg.errors import ResgError
from resg.files import load_tensors, save_tensors
from resg.jobs import evaluate_runs, resume_run, train_run
from resg.presets import load_settings
from resg.run_folder import load_matcher, open_run
from resg.training import checkpoint
from resg.training.checkpoint import last_checkpoint, load_checkpoint
from resg.training.run_log import read_metrics

CPU = torch.device("cpu")
SMALL = (
    "model.width=16",
    "model.graph.heads=4",
    "model.text.word_width=8",
    "train.batch_size=16",
    "train.epochs=2",
)


@pytest.fixture(scope="module")
def runs(shards, tmp_path_factory):
    """A trained run of each of two presets."""
    folder = tmp_path_factory.mktemp("runs")
    for preset in ("vse++", "resg-gru"):
        train_run(shards, folder / preset, load_settings(preset, (*SMALL, "train.ema=0.9")), CPU)
    return folder


@pytest.fixture
def run(runs, tmp_path):
    """A copy of a run to be damaged."""
    return shutil.copytree(runs / "vse++", tmp_path / "run")


def cut_in_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_everything_of_a_run_is_safetensors_or_json_and_nothing_is_pickled(runs):
    files = [p for p in (runs / "resg-gru").rglob("*") if p.is_file() and "tfevents" not in p.name]
    assert {path.suffix for path in files} == {".safetensors", ".json", ".jsonl", ".png"}
    for path in files:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as tensors:
                assert tensors.keys()
        elif path.suffix == ".json":
            json.loads(path.read_text())


def test_the_averaged_model_is_kept_apart_from_the_trained_one(runs):
    folder = runs / "resg-gru"
    trained = load_tensors(last_checkpoint(folder) / "model.safetensors")
    averaged = load_tensors(last_checkpoint(folder) / "average.safetensors")
    name = "regions.project.weight"
    assert trained[name].shape == averaged[f"module.{name}"].shape
    assert not torch.equal(trained[name], averaged[f"module.{name}"])


def test_a_write_that_fails_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "best.safetensors"
    save_tensors(path, {"weight": torch.ones(3)})

    def half_written(tensors, draft):
        draft.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(files, "save_file", half_written)
    with pytest.raises(OSError, match="no space left"):
        save_tensors(path, {"weight": torch.zeros(3)})
    assert torch.equal(load_tensors(path)["weight"], torch.ones(3))


@pytest.mark.parametrize("killed_at", ["model", "sampler", "optimiser", "random"])
def test_a_run_killed_while_it_writes_goes_on_from_the_checkpoint_before(
    killed_at, runs, shards, tmp_path, monkeypatch
):
    save = checkpoint.save_tensors

    def dies(path, tensors):
        if path.parent.name == "last-00000012" and path.stem == killed_at:
            path.write_bytes(b"half")
            raise KeyboardInterrupt
        save(path, tensors)

    folder = tmp_path / "run"
    monkeypatch.setattr(checkpoint, "save_tensors", dies)
    with pytest.raises(KeyboardInterrupt):
        train_run(shards, folder, load_settings("vse++", (*SMALL, "train.ema=0.9")), CPU)
    monkeypatch.undo()
    assert last_checkpoint(folder).name == "last-00000006"
    resume_run(folder, CPU)
    assert [path.name for path in folder.glob("last-*")] == ["last-00000012"]
    losses = [
        [event["loss"] for event in read_metrics(f) if event["kind"] == "step"]
        for f in (folder, runs / "vse++")
    ]
    assert losses[0] == losses[1]
    weights = [load_tensors(f / "best.safetensors") for f in (folder, runs / "vse++")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1])


@pytest.mark.parametrize("file", ["best.safetensors", "run.json", "vocabulary.json"])
def test_a_file_cut_in_half_is_an_error_that_names_it(file, run):
    cut_in_half(run / file)
    with pytest.raises(ResgError, match=file) as caught:
        load_matcher(open_run(run), CPU)
    assert "damaged" in str(caught.value) or "incomplete" in str(caught.value)


def test_a_damaged_or_missing_checkpoint_cannot_be_resumed(run):
    cut_in_half(last_checkpoint(run) / "optimiser.safetensors")
    with pytest.raises(ResgError, match=r"optimiser\.safetensors is damaged"):
        resume_run(run, CPU)
    shutil.rmtree(last_checkpoint(run))
    with pytest.raises(ResgError, match="stopped before its first step"):
        resume_run(run, CPU)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(ResgError, match=r"it has no run\.json"):
        open_run(tmp_path)


def test_a_checkpoint_of_another_preset_is_refused(runs, run):
    shutil.copy(runs / "resg-gru" / "best.safetensors", run)
    with pytest.raises(ResgError, match=r"another model's: .*unexpected") as caught:
        load_matcher(open_run(run), CPU)
    assert "this run's preset" in str(caught.value)


def test_moved_shards_are_named_when_a_run_goes_on(shards, train_until, tmp_path):
    moved = shutil.copytree(shards, tmp_path / "here")
    settings = load_settings("vse++", SMALL)
    train_until(moved, tmp_path / "run", settings, 8)
    moved.rename(tmp_path / "there")
    with pytest.raises(Exception, match="here"):
        resume_run(tmp_path / "run", CPU)
    resumed = resume_run(tmp_path / "run", CPU, tmp_path / "there")
    whole = train_run(tmp_path / "there", tmp_path / "whole", settings, CPU)
    assert resumed == whole


def test_a_run_does_not_go_on_with_other_shards(shards, world, run, tmp_path):
    other = tmp_path / "other"
    for number, (split, count) in enumerate((("train", 30), ("val", 12), ("test", 12))):
        world.write_split(other, number, split, *world.make_split(split, count, number))
    with pytest.raises(ResgError, match=r"regions-00000\.h5") as caught:
        resume_run(run, CPU, other)
    assert "Train a new run" in str(caught.value)
    assert evaluate_runs([run], "test", "full", CPU, other)["rsum"] > 0  # other test data is fine


def test_shards_of_another_detector_are_refused(world, run, tmp_path):
    images, captions = world.make_split("test", 12, 2)
    world.write_split(tmp_path / "s", 0, "test", images, captions, fingerprint={"detector": "b"})
    with pytest.raises(ResgError, match="same detector and parser"):
        evaluate_runs([run], "test", "full", CPU, tmp_path / "s")


def test_a_run_of_an_older_version_is_refused_with_the_new_name(run):
    path = run / "run.json"
    content = json.loads(path.read_text())
    content["settings"]["train"]["decay_at"] = content["settings"]["train"].pop("decay_after")
    path.write_text(json.dumps(content))
    with pytest.raises(
        ResgError, match=r"run\.json is not of this version: .*'train\.decay_after'"
    ):
        open_run(run)
    state = last_checkpoint(run) / "state.json"
    content = json.loads(state.read_text())
    content["best"] = content.pop("best_rsum")
    state.write_text(json.dumps(content))
    adamw = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])
    with pytest.raises(ResgError, match=r"state\.json is not of this version"):
        load_checkpoint(last_checkpoint(run), adamw)
