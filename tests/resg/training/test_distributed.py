"""Two processes on the CPU must train as one process with the joined batch does."""

import json
import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from resg import jobs
from resg.errors import SettingsError
from resg.jobs import train_run
from resg.presets import load_settings
from resg.training.checkpoint import last_checkpoint
from resg.training.distributed import Processes
from resg.training.run_log import read_metrics

SETTINGS = (
    "model.width=32",
    "model.graph.heads=4",
    "model.graph.dropout=0",
    "model.graph.edge_dropout=0",
    "train.region_drop=0",
    "train.word_drop=0",
    "model.text.word_width=16",
    "train.batch_size=11",  # six pairs for one process, five for the other
    "train.epochs=1",
    "train.decay_after=1",
    "loss.hardest_after=0.5",
)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def torchrun(shards, out, *arguments):
    changes = [argument for change in SETTINGS for argument in ("--set", change)]
    command = [
        sys.executable,
        *("-m", "torch.distributed.run", "--nproc-per-node", "2"),
        *("--master-port", str(free_port())),
        *("-m", "resg", "train", "--shards", str(shards), "--out", str(out)),
        *("--device", "cpu", *changes, *arguments),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Warning" not in done.stderr
    return done.stderr


def test_a_batch_of_fewer_pairs_than_processes_is_refused(shards, tmp_path, monkeypatch):
    @contextmanager
    def joined(device):
        yield Processes(0, 12)

    monkeypatch.setattr(jobs, "joined_processes", joined)
    with pytest.raises(SettingsError, match=r"each of 12 processes, got train\.batch_size 11"):
        train_run(shards, tmp_path / "run", load_settings("vse++", SETTINGS), torch.device("cpu"))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_two_processes_train_one_seed_after_the_other(shards, tmp_path):
    torchrun(shards, tmp_path / "s", "--preset", "vse++", "--seeds", "2")
    steps = [len(read_metrics(tmp_path / "s" / name)) for name in ("seed-0", "seed-1")]
    assert steps[0] == steps[1] > 0


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["resg-gru", "vse++", "vse-inf"])
def test_two_processes_give_the_losses_and_weights_of_one(preset, world, tmp_path):
    shards = tmp_path / "shards"
    for number, (split, count) in enumerate((("train", 55), ("val", 12))):
        images, captions = world.make_split(split, count, number)
        first = [caption for caption in captions if caption.caption_id.endswith("#0")]
        lost = world.make_caption("lost#0", "lost", "red", "blue")  # of an image without regions
        world.write_split(shards, number, split, images, [lost, *first])
    train_run(shards, tmp_path / "one", load_settings(preset, SETTINGS), torch.device("cpu"))
    told = torchrun(shards, tmp_path / "two", "--preset", preset)
    counted = "train: 55 images, 55 captions; left out: 1 caption of 1 image without regions"
    assert told.count(counted) == 1
    one, two = (
        [e["loss"] for e in read_metrics(tmp_path / name) if e["kind"] == "step"]
        for name in ("one", "two")
    )
    assert len(one) == 5
    assert one == pytest.approx(two, rel=1e-5)
    checkpoints = [last_checkpoint(tmp_path / name) for name in ("one", "two")]
    assert json.loads((checkpoints[1] / "state.json").read_text())["step"] == 5
    last = [load_file(checkpoint / "model.safetensors") for checkpoint in checkpoints]
    for name, weight in last[0].items():
        assert torch.allclose(weight, last[1][name], rtol=0, atol=1e-5), name
