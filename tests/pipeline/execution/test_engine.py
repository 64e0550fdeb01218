"""A stage over shards: the same data whoever works, resume, failures, refusals."""

import errno
import json
import subprocess
import time

import fake_stage
import numpy as np
import pytest
from fake_stage import FakeItem, FakeStage
from pydantic import ValidationError

import pipeline.shards.writer
from pipeline.errors import DataError, ExecutionError, SettingsError
from pipeline.execution import ExecutionSettings, run_stage
from pipeline.execution.engine import TASKS_AHEAD
from pipeline.shards.reader import ShardReader


def on_threads(**settings):
    return ExecutionSettings(**{"workers": 2, "shard_size": 4, "progress": False} | settings)


def data(folder):
    """Every byte of the shards and their sidecars."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def marks(tmp_path):
    folder = tmp_path / "marks"
    folder.mkdir()
    return folder


def test_shards_hold_the_records_of_their_split_in_order(tmp_path):
    items = [*fake_stage.items(6), *fake_stage.items(3, "test")]

    report = run_stage(FakeStage(), items, tmp_path / "out", on_threads())

    assert (report.shards, report.records, report.worked) == (3, 9, 9)
    train = ShardReader(tmp_path / "out", "regions", "train")
    assert train.ids == [item.id for item in items[:6]]
    assert ShardReader(tmp_path / "out", "regions", "test").ids == [i.id for i in items[6:]]
    expected = fake_stage.record(items[5].id)
    np.testing.assert_array_equal(train[5].features, expected.features.astype(np.float16))
    np.testing.assert_array_equal(train[5].boxes, expected.boxes)


def test_splits_that_alternate_in_the_source_still_get_shards_of_their_own(tmp_path):
    items = [FakeItem(f"{i}.jpg", "train" if i % 2 else "test") for i in range(6)]
    run_stage(FakeStage(), items, tmp_path, on_threads())
    assert ShardReader(tmp_path, "regions", "train").ids == ["1.jpg", "3.jpg", "5.jpg"]


@pytest.mark.slow
def test_threads_processes_and_one_worker_give_the_same_bytes(tmp_path):
    items = fake_stage.items(20)
    settings = {
        "one": on_threads(workers=1),
        "threads": on_threads(workers=3),
        "processes": on_threads(workers=2, processes=True),
    }
    for name, execution in settings.items():
        run_stage(FakeStage(), items, tmp_path / name, execution)
    assert data(tmp_path / "one") == data(tmp_path / "threads") == data(tmp_path / "processes")
    assert len(data(tmp_path / "one")) == 10


def test_a_second_run_works_on_nothing(tmp_path):
    run_stage(FakeStage(), fake_stage.items(10), tmp_path, on_threads())
    before = data(tmp_path)
    report = run_stage(FakeStage(), fake_stage.items(10), tmp_path, on_threads())
    assert (report.worked, report.shards_kept, report.records) == (0, 3, 10)
    assert data(tmp_path) == before


def test_a_run_goes_on_where_shards_are_missing_and_clears_what_a_killed_run_left(tmp_path):
    run_stage(FakeStage(), fake_stage.items(10), tmp_path, on_threads())
    before = data(tmp_path)
    (tmp_path / "regions-00001.json").unlink()  # killed between the shard and its sidecar
    (tmp_path / "regions-00002.h5").unlink()
    (tmp_path / "regions-00002.json").unlink()
    (tmp_path / "regions-00002.h5.tmp").write_bytes(b"half")

    report = run_stage(FakeStage(), fake_stage.items(10), tmp_path, on_threads())

    assert (report.worked, report.shards_kept) == (6, 1)
    assert data(tmp_path) == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"stage": FakeStage(seed=1)}, "settings.seed: 1 here, 0 there"),
        ({"stage": FakeStage(weights="c3d4")}, "fingerprint.model.weights: 'c3d4' here"),
        ({"items": fake_stage.items(9)}, "fingerprint.inputs"),
        ({"execution": on_threads(shard_size=5)}, "fingerprint.shard_size: 5 here, 4 there"),
    ],
)
def test_the_shards_of_another_run_are_refused_and_what_differs_is_said(tmp_path, change, named):
    run = {"stage": FakeStage(), "items": fake_stage.items(10), "execution": on_threads()}
    run_stage(out=tmp_path, **run)
    before = data(tmp_path)
    with pytest.raises(DataError, match="--overwrite") as refusal:
        run_stage(out=tmp_path, **run | change)
    assert named in str(refusal.value)
    assert len(str(refusal.value).splitlines()) <= 3
    assert data(tmp_path) == before


def test_the_number_of_workers_is_no_part_of_a_run(tmp_path):
    run_stage(FakeStage(), fake_stage.items(10), tmp_path, on_threads(workers=1))
    report = run_stage(FakeStage(), fake_stage.items(10), tmp_path, on_threads(workers=2))
    assert report.worked == 0


def test_overwrite_starts_over_and_leaves_other_files_alone(tmp_path):
    run_stage(FakeStage(), fake_stage.items(10), tmp_path, on_threads())
    (tmp_path / "captions-00000.json").write_text("{}")
    run_stage(FakeStage(seed=1), fake_stage.items(3), tmp_path, on_threads(overwrite=True))
    assert set(data(tmp_path)) == {"regions-00000.h5", "regions-00000.json", "captions-00000.json"}
    assert ShardReader(tmp_path, "regions").settings == {"seed": 1}


def test_a_damaged_shard_is_not_taken_for_whole(tmp_path):
    run_stage(FakeStage(), fake_stage.items(10), tmp_path, on_threads())
    with (tmp_path / "regions-00001.h5").open("ab") as stream:
        stream.write(b"!")
    with pytest.raises(DataError, match="regions-00001"):
        run_stage(FakeStage(), fake_stage.items(10), tmp_path, on_threads())


def test_a_bad_item_ends_the_run_and_says_how_to_go_on(tmp_path, marks):
    (marks / "train-0005.jpg").write_text("fail")
    out = tmp_path / "out"
    with pytest.raises(DataError, match=r"train-0005\.jpg.*damaged") as stop:
        run_stage(
            FakeStage(marks=marks),
            fake_stage.items(10),
            out,
            on_threads(workers=1, on_error="stop"),
        )
    assert "--on-error skip" in str(stop.value)
    assert len(str(stop.value).splitlines()) <= 3
    deadline = time.monotonic() + 20
    while list(out.glob("*.tmp")) and time.monotonic() < deadline:
        time.sleep(0.01)  # another shard may be in writing; its thread ends after it
    assert "regions-00001.h5" not in data(out)
    assert not [name for name in data(out) if name.endswith(".tmp")]


def test_bad_items_are_left_out_and_listed_with_their_reasons(tmp_path, marks):
    (marks / "train-0005.jpg").write_text("fail")
    (marks / "train-0006.jpg").write_text("raise")
    out = tmp_path / "out"

    report = run_stage(FakeStage(marks=marks), fake_stage.items(10), out, on_threads())

    assert report.failures == {
        "train-0005.jpg": "the picture train-0005.jpg is damaged",
        "train-0006.jpg": "ValueError: cannot reshape train-0006.jpg",
    }
    assert json.loads((out / "regions-00001.json").read_text())["failures"] == report.failures
    assert len(ShardReader(out, "regions")) == report.records == 8
    _, *listed, last = report.summary().splitlines()
    assert listed == [f"{id_}: {reason}" for id_, reason in report.failures.items()]
    assert last.startswith("2 of 10 images failed and were skipped; pipeline info --failed")
    assert "--retry-failed" in last


def test_a_run_without_a_sound_item_is_an_error(tmp_path, marks):
    items = fake_stage.items(6)
    for item in items:
        (marks / item.id).write_text("fail")
    for _ in range(2):  # nor is it a success when it is repeated
        with pytest.raises(DataError, match=r"all 6 images failed, the first is train-0000\.jpg"):
            run_stage(FakeStage(marks=marks), items, tmp_path / "out", on_threads())
    for item in items:
        (marks / item.id).unlink()
    stage = FakeStage(marks=marks)
    assert run_stage(stage, items, tmp_path / "out", on_threads(retry_failed=True)).records == 6


def test_a_shard_may_lose_all_its_items(tmp_path, marks):
    for item in fake_stage.items(10)[4:8]:
        (marks / item.id).write_text("fail")
    stage, out = FakeStage(marks=marks), tmp_path / "out"
    report = run_stage(stage, fake_stage.items(10), out, on_threads())
    assert (report.records, len(report.failures)) == (6, 4)
    assert run_stage(stage, fake_stage.items(10), out, on_threads()).worked == 0
    for mark in marks.glob("*.jpg"):
        mark.unlink()
    report = run_stage(stage, fake_stage.items(10), out, on_threads(retry_failed=True))
    assert (report.records, report.worked) == (10, 4)


def test_retry_failed_gives_the_bytes_of_a_run_that_never_failed(tmp_path, marks):
    items = fake_stage.items(10)
    run_stage(FakeStage(), items, tmp_path / "never-failed", on_threads())
    for item in (items[0], items[5], items[7]):
        (marks / item.id).write_text("fail")
    stage, out = FakeStage(marks=marks), tmp_path / "out"
    run_stage(stage, items, out, on_threads())
    (marks / items[0].id).unlink()
    (marks / items[5].id).unlink()

    report = run_stage(stage, items, out, on_threads(retry_failed=True))

    assert (report.worked, report.shards_kept, list(report.failures)) == (3, 1, [items[7].id])
    (marks / items[7].id).unlink()
    report = run_stage(stage, items, out, on_threads(retry_failed=True))
    assert (report.worked, report.failures) == (1, {})
    assert data(out) == data(tmp_path / "never-failed")


def test_a_retry_that_fails_again_leaves_the_shard_as_it_was(tmp_path, marks):
    (marks / "train-0005.jpg").write_text("fail")
    stage = FakeStage(marks=marks)
    run_stage(stage, fake_stage.items(10), tmp_path / "out", on_threads())
    before = data(tmp_path / "out")
    with pytest.raises(DataError, match=r"train-0005\.jpg"):
        run_stage(
            stage,
            fake_stage.items(10),
            tmp_path / "out",
            on_threads(retry_failed=True, on_error="stop"),
        )
    assert data(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("mark", "error", "exit_code"),
    [("no-model", "the weights w.onnx are missing", 1), ("no-extra", r"resg\[detectron2\]", 2)],
)
def test_a_stage_that_cannot_work_ends_the_run_even_where_bad_items_are_skipped(
    tmp_path, marks, mark, error, exit_code
):
    (marks / "train-0001.jpg").write_text(mark)
    with pytest.raises(ExecutionError, match=error) as stop:
        run_stage(
            FakeStage(marks=marks),
            fake_stage.items(4),
            tmp_path / "out",
            on_threads(),
        )
    assert stop.value.exit_code == exit_code


def test_a_stage_that_gives_outcomes_of_other_items_is_refused(tmp_path, marks):
    (marks / "train-0001.jpg").write_text("wrong-id")
    with pytest.raises(ExecutionError, match=r"'another\.jpg', due was .*'train-0001\.jpg'"):
        run_stage(
            FakeStage(marks=marks), fake_stage.items(4), tmp_path / "out", on_threads(retries=0)
        )


def test_an_id_that_comes_twice_is_refused(tmp_path):
    items = [*fake_stage.items(3), FakeItem("train-0001.jpg", "test")]
    with pytest.raises(DataError, match=r"'train-0001\.jpg'"):
        run_stage(FakeStage(), items, tmp_path / "out", on_threads())


def test_no_items_are_refused(tmp_path):
    with pytest.raises(DataError, match="no images to process"):
        run_stage(FakeStage(), [], tmp_path / "out", on_threads())


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(SettingsError, match="is a file"):
        run_stage(FakeStage(), fake_stage.items(3), tmp_path / "out", on_threads())


def test_a_full_disk_ends_the_run_with_whole_shards_alone(tmp_path, monkeypatch):
    fill = pipeline.shards.writer._fill
    calls = []

    def full_at_the_second_shard(stream, *rest):
        calls.append(1)
        if len(calls) > 1:
            stream.write(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        return fill(stream, *rest)

    monkeypatch.setattr(pipeline.shards.writer, "_fill", full_at_the_second_shard)
    with pytest.raises(ExecutionError, match="No space left on device") as stop:
        run_stage(FakeStage(), fake_stage.items(12), tmp_path, on_threads(workers=1))
    assert "run the same command again" in str(stop.value)
    assert set(data(tmp_path)) == {"regions-00000.h5", "regions-00000.json"}
    monkeypatch.undo()
    assert run_stage(FakeStage(), fake_stage.items(12), tmp_path, on_threads()).shards_kept == 1


def test_a_disk_that_is_really_full(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        with pytest.raises(ExecutionError, match="No space left on device"):
            run_stage(FakeStage(), fake_stage.items(200), small / "out", on_threads())
        assert not list((small / "out").glob("*.tmp"))
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_write_that_fails_once_is_tried_again(tmp_path, monkeypatch):
    fill = pipeline.shards.writer._fill
    calls = []

    def stumble(*args):
        calls.append(1)
        if len(calls) == 2:
            raise OSError(errno.EIO, "Input/output error")
        return fill(*args)

    monkeypatch.setattr(pipeline.shards.writer, "_fill", stumble)
    assert run_stage(FakeStage(), fake_stage.items(12), tmp_path, on_threads()).records == 12


def test_few_tasks_are_submitted_ahead(tmp_path, monkeypatch):
    from distributed import Client

    submit, ahead = Client.submit, []

    def count(self, *args, **options):
        ahead.append(len(ahead) + 1 - len(list(tmp_path.glob("*.json"))))
        return submit(self, *args, **options)

    monkeypatch.setattr(Client, "submit", count)
    run_stage(FakeStage(), fake_stage.items(120), tmp_path, on_threads(workers=2))
    assert len(ahead) == 30
    assert max(ahead) <= 2 * TASKS_AHEAD


def test_tasks_share_the_cores_of_their_host(tmp_path, marks, monkeypatch):
    monkeypatch.setattr("dask.system.CPU_COUNT", 8)
    stage = FakeStage(marks=marks)
    run_stage(stage, fake_stage.items(12), tmp_path / "out", on_threads(workers=3))
    assert (marks / "threads-2").exists()


@pytest.mark.parametrize(
    "settings",
    [
        {"workers": 2, "scheduler": "tcp://127.0.0.1:1"},
        {"workers": 3, "gpus": 2},
        {"overwrite": True, "retry_failed": True},
    ],
)
def test_settings_that_exclude_each_other_are_refused(settings):
    with pytest.raises(ValidationError):
        ExecutionSettings(**settings)


@pytest.mark.parametrize(
    ("given", "tasks", "items", "decided"),
    [
        ({}, 3, 4_999, (False, 1)),  # few items are done before processes would have started
        ({}, 3, 5_000, (True, None)),
        ({}, 1, 9_000, (False, 1)),
        ({"workers": 2}, 3, 10, (True, 2)),
        ({"processes": False}, 3, 10, (False, None)),
        ({"processes": True}, 1, 1, (True, None)),
        ({"gpus": 2}, 1, 1, (True, None)),
    ],
)
def test_many_items_take_processes(given, tasks, items, decided):
    settings = ExecutionSettings(**{"processes": None} | given).decided(tasks, items)
    assert (settings.processes, settings.workers) == decided


def test_each_shard_is_logged_as_json(tmp_path, marks):
    (marks / "train-0005.jpg").write_text("fail")
    log = tmp_path / "new" / "log.jsonl"
    execution = on_threads(log_json=str(log))
    run_stage(FakeStage(marks=marks), fake_stage.items(10), tmp_path / "out", execution)
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert [event["event"] for event in events] == ["start", "shard", "shard", "shard", "end"]
    assert (events[0]["items"], events[-1]["ok"]) == (10, True)
    assert sum(e["worked"] for e in events[1:-1]) == 10
    assert sum(e["failed"] for e in events[1:-1]) == 1


def test_progress_is_plain_lines_away_from_a_terminal(tmp_path, capsys):
    run_stage(FakeStage(), fake_stage.items(10), tmp_path, on_threads(progress=True))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("fake-stage: 10 of 10 images, ")
    assert err.rstrip().endswith("0:00:00 left, 0 failed")
    assert "\x1b" not in err
