"""Ctrl-C in training: what is saved is told, and the resumed run is the unbroken one."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from resg import progress
from resg.cli import main
from resg.jobs import resume_run, train_run
from resg.presets import load_settings
from resg.training.distributed import Processes
from resg.training.interruption import TrainingInterrupted, interruptible
from resg.training.run_log import read_metrics

CPU = torch.device("cpu")
SMALL = (
    "model.width=16",
    "model.graph.heads=4",
    "model.text.word_width=8",
    "train.batch_size=16",
    "train.epochs=3",
)
SETTINGS = load_settings("resg-gru", SMALL)
CHANGES = [part for change in SMALL for part in ("--set", change)]


@pytest.fixture(autouse=True)
def ctrl_c_is_not_ignored():
    """A shell starts what it runs in the background with SIGINT ignored, which Python keeps."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def figures_of(folder):
    return [
        {name: value for name, value in event.items() if name != "pairs_per_second"}
        for event in read_metrics(folder)
    ]


def press_ctrl_c(step):
    """A listener that sends this process SIGINT when that step is done."""

    def listen(event):
        if event["kind"] == "step" and event["step"] == step:
            os.kill(os.getpid(), signal.SIGINT)

    return listen


@pytest.mark.parametrize(("step", "checkpoint"), [(0, "last-00000000"), (8, "last-00000006")])
def test_a_stopped_run_says_what_is_saved_and_resumes_bit_equal(step, checkpoint, shards, tmp_path):
    train_run(shards, tmp_path / "whole", SETTINGS, CPU)
    folder = tmp_path / "my run"
    with pytest.raises(TrainingInterrupted) as told:
        train_run(shards, folder, SETTINGS, CPU, press_ctrl_c(step))
    assert str(told.value) == (
        f"Stopped. The state of the last finished epoch is saved in {folder / checkpoint}.\n"
        f"Resume with: resg train --resume '{folder}'"
    )
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    resume_run(folder, CPU)
    assert figures_of(folder) == figures_of(tmp_path / "whole")


def test_ctrl_c_is_a_keyboard_interrupt_for_programs_that_train(shards, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train_run(shards, tmp_path / "run", SETTINGS, CPU, press_ctrl_c(1))


def test_before_the_first_checkpoint_nothing_is_saved(tmp_path):
    with (
        pytest.raises(TrainingInterrupted, match="before the first step; nothing is saved"),
        interruptible(tmp_path, Processes()),
    ):
        raise KeyboardInterrupt


def test_another_error_stays_itself(tmp_path):
    with pytest.raises(ValueError, match="bad"), interruptible(tmp_path, Processes()):
        raise ValueError("bad")


def test_a_process_that_fails_since_others_are_gone_was_stopped_too(tmp_path):
    def lose_connection():
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
        except KeyboardInterrupt:
            os.kill(os.getpid(), signal.SIGINT)  # torchrun's own, after the terminal's
            raise RuntimeError("connection closed by peer") from None

    with pytest.raises(TrainingInterrupted) as told, interruptible(tmp_path, Processes(1, 2)):
        lose_connection()
    assert str(told.value) == ""  # the first process says it
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_a_handler_of_somebody_else_and_other_threads_are_left_alone(tmp_path):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruptible(tmp_path, Processes()):
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    entered = []

    def enter():
        with interruptible(tmp_path, Processes()):
            entered.append(True)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert entered


def test_the_command_exits_with_130_and_no_traceback(shards, tmp_path, monkeypatch):
    show = progress.TrainingTable.show

    def show_and_stop(table, event):
        show(table, event)
        press_ctrl_c(8)(event)

    monkeypatch.setattr(progress.TrainingTable, "show", show_and_stop)
    out = tmp_path / "run"
    command = ["train", "--shards", str(shards), "--out", str(out), "--device", "cpu", *CHANGES]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 130
    assert "Traceback" not in done.output
    assert done.stderr.splitlines()[-1] == f"Resume with: resg train --resume {out}"
    monkeypatch.undo()
    resumed = CliRunner().invoke(main, ["train", "--resume", str(out), "--device", "cpu"])
    assert resumed.exit_code == 0
    assert "3 epochs of 6 steps, 18 steps in all, resumed after epoch 1" in resumed.stderr


@pytest.mark.slow
def test_under_torchrun_the_first_process_says_it_once(shards, tmp_path):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    out = tmp_path / "run"
    command = [
        sys.executable,
        *("-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port)),
        *("-m", "resg", "train", "--shards", str(shards), "--out", str(out), "--device", "cpu"),
        *(*CHANGES, "--set", "train.epochs=5000", "--preset", "vse++"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
    with subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as training:
        while not (out / "best.safetensors").exists():
            assert training.poll() is None
            time.sleep(0.2)
        os.killpg(training.pid, signal.SIGINT)  # as a terminal does
        _, told = training.communicate(timeout=60)
    assert training.returncode != 0
    assert told.count("Stopped. The state of the last finished epoch is saved in") == 1
    assert f"Resume with: torchrun --nproc-per-node 2 -m resg train --resume {out}" in told
    assert "unexpected" not in told
    assert "resg/training" not in told  # torchrun prints a traceback, but of itself alone
