"""Workers that are processes of their own: clusters, deaths, interrupts, GPUs."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import fake_stage
import pytest
from fake_stage import FakeStage

from pipeline.errors import ExecutionError, SettingsError
from pipeline.execution import ExecutionSettings, run_stage

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parents[1]  # where `fake_stage` lies
REPOSITORY = TESTS.parents[1]
ENVIRONMENT = os.environ | {"PYTHONPATH": f"{REPOSITORY}:{TESTS}"}


def settings(**changed):
    return ExecutionSettings(**{"shard_size": 4, "progress": False} | changed)


def data(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def marks(tmp_path):
    folder = tmp_path / "marks"
    folder.mkdir()
    return folder


@pytest.fixture
def start():
    """Start a program that is ended with the test, with all its children.

    It heeds Ctrl-C, also where these tests themselves run in the background of a shell and ignore
    it: a signal that is ignored stays ignored in a child, one with a handler gets its default.
    """
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)
    started = []

    def run(*command, **options):
        process = subprocess.Popen(
            command, env=ENVIRONMENT, start_new_session=True, text=True, **options
        )
        started.append(process)
        return process

    yield run
    signal.signal(signal.SIGINT, ours)
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
    for process in started:
        process.wait(20)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def cluster(start):
    """Start `dask scheduler` and two `dask worker`, on loopback; its address."""

    def run(*worker_options):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        address = f"tcp://127.0.0.1:{port}"
        dask = [sys.executable, "-m", "dask"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        start(*dask, "scheduler", "--host", "127.0.0.1", "--port", str(port),
              "--no-dashboard", **quiet)  # fmt: skip
        for _ in range(2):
            start(*dask, "worker", address, "--host", "127.0.0.1", "--nthreads", "1",
                  "--no-dashboard", *worker_options, **quiet)  # fmt: skip
        wait_for_workers(address, 2)
        return address

    return run


def wait_for_workers(address, count):
    from distributed import Client

    for attempt in range(60):
        try:
            with Client(address, timeout=2, set_as_default=False) as client:
                if count:
                    client.wait_for_workers(count, timeout=60)
                return
        except OSError:
            assert attempt < 59, "no scheduler came up"
            time.sleep(0.5)


def test_a_cluster_gives_the_bytes_of_this_machine(tmp_path, cluster, marks):
    items = fake_stage.items(20)
    run_stage(FakeStage(), items, tmp_path / "here", settings(workers=2))
    address = cluster()

    report = run_stage(
        FakeStage(marks=marks), items, tmp_path / "there", settings(scheduler=address)
    )

    assert report.worked == 20
    assert data(tmp_path / "here") == data(tmp_path / "there")
    assert len(list(marks.glob("worker-*"))) == 2
    assert not list(marks.glob(f"worker-{os.getpid()}-*"))


def test_gpus_are_asked_of_workers_that_offer_them(tmp_path, cluster, marks):
    address = cluster("--resources", "GPU=1")
    report = run_stage(
        FakeStage(marks=marks),
        fake_stage.items(8),
        tmp_path / "out",
        settings(scheduler=address, gpus=2),
    )
    assert report.records == 8


def test_workers_without_gpus_are_refused_before_anything_is_submitted(tmp_path, cluster):
    address = cluster("--resources", "CRANE=2")
    with pytest.raises(SettingsError, match="2 with CRANE=2") as refusal:
        run_stage(
            FakeStage(), fake_stage.items(8), tmp_path / "out", settings(scheduler=address, gpus=1)
        )
    assert '--resources "GPU=1"' in str(refusal.value)
    assert len(str(refusal.value).splitlines()) <= 3


def test_a_scheduler_without_workers_is_refused(tmp_path, start, monkeypatch):
    monkeypatch.setattr("pipeline.execution.cluster.SECONDS_TO_CONNECT", 3)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    start(sys.executable, "-m", "dask", "scheduler", "--host", "127.0.0.1", "--port", str(port),
          "--no-dashboard", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    wait_for_workers(address, 0)
    with pytest.raises(ExecutionError, match="has no workers"):
        run_stage(FakeStage(), fake_stage.items(4), tmp_path, settings(scheduler=address))


def test_no_scheduler_is_an_error_that_says_how_to_start_one(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.execution.cluster.SECONDS_TO_CONNECT", 1)
    with pytest.raises(ExecutionError, match="dask scheduler"):
        run_stage(
            FakeStage(), fake_stage.items(4), tmp_path, settings(scheduler="tcp://127.0.0.1:1")
        )


def test_each_gpu_of_this_machine_gets_a_worker_that_sees_it_alone(tmp_path, marks, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    stage = FakeStage(marks=marks, seconds=0.1)
    run_stage(stage, fake_stage.items(24), tmp_path / "out", settings(gpus=2))
    assert {path.name.split("-gpu-")[1] for path in marks.glob("worker-*")} == {"3", "5"}


def test_more_gpus_than_there_are_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(SettingsError, match="this machine has 1 GPUs"):
        run_stage(FakeStage(), fake_stage.items(8), tmp_path, settings(gpus=2))


def test_a_shard_is_tried_again_when_its_worker_dies(tmp_path, marks):
    (marks / "train-0005.jpg").write_text("die-once")
    report = run_stage(
        FakeStage(marks=marks),
        fake_stage.items(12),
        tmp_path / "out",
        settings(workers=2, processes=True),
    )
    assert report.records == 12
    run_stage(FakeStage(), fake_stage.items(12), tmp_path / "whole", settings(workers=1))
    assert data(tmp_path / "out") == data(tmp_path / "whole")


def test_a_shard_that_kills_every_worker_ends_the_run_and_is_named(tmp_path, marks):
    (marks / "train-0005.jpg").write_text("die")
    with pytest.raises(ExecutionError, match=r"regions-00001\.h5 \(train-0004\.jpg") as stop:
        run_stage(
            FakeStage(marks=marks),
            fake_stage.items(8),
            tmp_path / "out",
            settings(workers=1, processes=True, retries=1),
        )
    assert "died 2 times" in str(stop.value)
    assert len(list(marks.glob("worker-*"))) == 2
    assert len(str(stop.value).splitlines()) <= 3


PROGRAM = """
import sys
from pathlib import Path
import fake_stage
from pipeline.cli import main
from pipeline.execution import ExecutionSettings, run_stage
import click

@main.command()
def run():
    execution = ExecutionSettings(shard_size=4, workers=2, processes=sys.argv[2] == "processes")
    stage = fake_stage.FakeStage(marks=Path(sys.argv[1]), seconds=0.02)
    report = run_stage(stage, fake_stage.items(40), Path(sys.argv[3]), execution)
    click.echo(report.summary())

main.get_command = lambda ctx, name: run
if __name__ == "__main__":
    main(["run"], prog_name="pipeline")
"""


@pytest.fixture
def program(start, tmp_path, marks):
    """Run the stage in a program of its own, until it hangs in the middle of the fifth shard."""
    (tmp_path / "program.py").write_text(PROGRAM)

    def run(workers, out):
        (marks / "train-0018.jpg").write_text("hang-once")
        process = start(
            sys.executable,
            str(tmp_path / "program.py"),
            str(marks),
            workers,
            str(out),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        deadline = time.monotonic() + 90
        while (marks / "train-0018.jpg").exists() or len(list(out.glob("*.json"))) < 4:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, "the stage did not get to the fifth shard"
            time.sleep(0.05)
        return process

    return run


@pytest.mark.parametrize("workers", ["threads", "processes"])
def test_a_run_killed_in_the_middle_of_a_shard_resumes_to_the_same_bytes(
    tmp_path, marks, program, workers
):
    out = tmp_path / "out"
    process = program(workers, out)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(20)
    killed = data(out)
    assert 4 <= sum(name.endswith(".json") for name in killed) < 10
    (out / "regions-00004.h5.tmp").write_bytes(b"half a shard")

    run_stage(FakeStage(marks=marks), fake_stage.items(40), out, settings(workers=2))

    run_stage(FakeStage(), fake_stage.items(40), tmp_path / "whole", settings(workers=1))
    assert data(out) == data(tmp_path / "whole")
    whole_before = {name for name in killed if name.endswith(".json")}
    assert all(killed[name] == data(out)[name] for name in whole_before)


@pytest.mark.parametrize("workers", ["threads", "processes"])
def test_ctrl_c_leaves_whole_shards_and_says_how_to_go_on(tmp_path, marks, program, workers):
    out = tmp_path / "out"
    process = program(workers, out)
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the whole group
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert stdout == ""
    message = stderr[stderr.index("Error:") :].splitlines()
    assert message[0].startswith("Error: interrupted: ")
    assert message[1:] == ["Run the same command again to make the others."]
    assert "Traceback" not in stderr
    for sidecar in out.glob("*.json"):
        assert sidecar.with_suffix(".h5").stat().st_size == json.loads(sidecar.read_text())["bytes"]
    report = run_stage(FakeStage(marks=marks), fake_stage.items(40), out, settings(workers=2))
    assert report.shards_kept >= 4
    run_stage(FakeStage(), fake_stage.items(40), tmp_path / "whole", settings(workers=1))
    assert data(out) == data(tmp_path / "whole")


def test_a_folder_that_workers_do_not_share_is_noticed(tmp_path, monkeypatch):
    def write_elsewhere(stage, job, shared):
        from pipeline.execution.task import ShardOutcome

        return ShardOutcome(records=4, worked=4)

    monkeypatch.setattr("pipeline.execution.engine.run_shard", write_elsewhere)
    with pytest.raises(ExecutionError, match="file system that this machine and all workers share"):
        run_stage(FakeStage(), fake_stage.items(4), tmp_path / "out", settings(workers=1))
