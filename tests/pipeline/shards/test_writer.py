"""A faulty record is named, and no interruption leaves half a shard."""

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from pipeline.errors import DataError, SettingsError
from pipeline.shards import writer
from pipeline.shards.encoding import make_encoder
from pipeline.shards.reader import ShardReader
from pipeline.shards.records import CaptionSpan, CaptionTriple, Failure
from pipeline.shards.sidecar import read_sidecar
from pipeline.shards.writer import write_shard


@pytest.fixture
def write(tmp_path, made_by, names):
    """Write records as the shard 0 of their kind."""

    def write(records, kind="regions", **settings):
        settings = {"split": "train", "names": names, **made_by, **settings}
        return write_shard(tmp_path / f"{kind}-00000.h5", kind, records, **settings)

    return write


FAULTY_IMAGES = {
    "flat features": ({"features": np.zeros(8, "f4")}, "features have shape"),
    "integer features": ({"features": np.zeros((3, 8), int)}, "features are int64"),
    "NaN feature": ({"features": np.full((3, 8), np.nan, "f4")}, "features are not finite"),
    "too large for half": ({"features": np.full((3, 8), 1e5, "f4")}, "as float32"),
    "box for each feature": ({"boxes": np.zeros((2, 4), "f4")}, r"shape \[2, 4\], expected \[3, 4"),
    "infinite box": ({"boxes": np.full((3, 4), np.inf, "f4")}, "boxes are not finite"),
    "no pixels": ({"image_size": (0, 5)}, "image_size"),
    "unknown label": ({"labels": np.array([0, 1, 3])}, "labels: 3 is out of range"),
    "negative label": ({"labels": np.array([0, -1, 2])}, "labels: -1 is out of range"),
    "score of NaN": ({"scores": np.array([0, np.nan, 1], "f4")}, "scores are not finite"),
    "relation of no region": ({"relations": np.array([[0, 0, 3], [0, 0, 1]])}, "name a region: 3"),
    "unknown predicate": ({"relations": np.array([[0, 2, 1], [0, 0, 1]])}, "name a predicate: 2"),
    "too few scores": ({"relation_scores": np.zeros(1, "f4")}, "relation_scores have shape"),
}


@pytest.mark.parametrize("fault", FAULTY_IMAGES)
def test_faulty_image_is_named(write, image, fault, tmp_path):
    fields, message = FAULTY_IMAGES[fault]
    faulty = image("img-7", **fields)
    with pytest.raises(DataError, match=f"'img-7'.*{message}"):
        write([image("img-6"), faulty])
    assert not list(tmp_path.iterdir())


FAULTY_CAPTIONS = {
    "one lemma short": ({"lemmas": ("a", "dog", "leg")}, "4 forms but 3 lemmas"),
    "head behind the end": ({"heads": (2, 2, 2, 4)}, "head of token 3 is 4"),
    "negative head": ({"heads": (2, -1, 2, 2)}, "head of token 1 is -1"),
    "object behind the end": ({"objects": (CaptionSpan(3, 5, "x"),) * 2}, "spans 3 to 5"),
    "empty span": ({"objects": (CaptionSpan(2, 2, "x"),) * 2}, "spans 2 to 2"),
    "object without words": ({"objects": (CaptionSpan(-1, -1, "x"),) * 2}, "spans -1 to -1"),
    "no subject": (
        {"triples": (CaptionTriple(2, CaptionSpan(0, 1, "x"), 1, None, "r"),)},
        "subject 2 is none of 2",
    ),
    "no object": (
        {"triples": (CaptionTriple(0, CaptionSpan(0, 1, "x"), -1, None, "r"),)},
        "object -1 is none of 2",
    ),
    "object and attribute": (
        {"triples": (CaptionTriple(0, CaptionSpan(0, 1, "x"), 1, CaptionSpan(0, 1, "y"), "r"),)},
        "has an attribute and object 1",
    ),
    "lone surrogate": ({"text": "\ud800"}, "not valid Unicode"),
    "lone surrogate in a rule": (
        {"triples": (CaptionTriple(0, CaptionSpan(0, 1, "x"), 1, None, "\udfff"),)},
        "not valid Unicode",
    ),
}


@pytest.mark.parametrize("fault", FAULTY_CAPTIONS)
def test_faulty_caption_is_named(write, caption, fault, tmp_path):
    fields, message = FAULTY_CAPTIONS[fault]
    with pytest.raises(DataError, match=f"'img#3'.*{message}"):
        write([caption("img#2", "img"), caption("img#3", "img", **fields)], "captions")
    assert not list(tmp_path.iterdir())


def test_the_float_type_decides_which_features_are_finite(image, names):
    large = image("a", features=np.full((3, 8), 1e5, "f4"))
    with pytest.raises(DataError, match="not finite in float16"):
        make_encoder("regions", "float16", names).add(large)
    make_encoder("regions", "float32", names).add(large)


def test_id_given_twice_is_refused(write, image):
    with pytest.raises(DataError, match="'a' appears twice"):
        write([image("a"), image("b"), image("a")])


def test_images_of_a_shard_have_the_same_fields(write, image):
    with pytest.raises(DataError, match="'b': has no boxes, unlike"):
        write([image("a"), image("b", boxes=None)])
    with pytest.raises(DataError, match="'b': features are 9 wide, those before it in the shard 8"):
        write([image("a"), image("b", width=9)])


def test_a_record_cannot_be_a_failure_too(write, image):
    with pytest.raises(DataError, match="both a record and a failure"):
        write([image("a")], failures=[Failure("a", "no such file")])


def test_arguments_are_checked_before_records_are_made(tmp_path, made_by):
    def records():
        raise AssertionError("asked for a record")
        yield

    faults = [
        ("regions-00000.hdf5", {}, "called regions-00000.h5"),
        ("captions-00000.h5", {}, "called regions-00000.h5"),
        ("regions-00000.h5", {"dtype": "float64"}, "float16 or float32"),
        ("regions-00000.h5", {"names": {"objects": ["cat"]}}, "not for 'objects'"),
    ]
    for name, settings, message in faults:
        with pytest.raises(SettingsError, match=message):
            write_shard(tmp_path / name, "regions", records(), split=None, **(made_by | settings))


def test_failures_and_notices_may_grow_while_records_stream(write, image, tmp_path):
    failures, notices = [], []

    def records():
        yield image("a")
        failures.append(Failure("b", "truncated JPEG"))
        notices.append("one image was grey")
        yield image("c")

    sidecar = write(records(), failures=failures, notices=notices)
    assert sidecar.failures == {"b": "truncated JPEG"}
    assert sidecar.notices == ("one image was grey",)
    assert sidecar.counts == {"images": 2, "regions": 6, "relations": 4}
    assert read_sidecar(tmp_path / "regions-00000.json") == sidecar


def test_records_memory_may_be_used_again_after_it_was_handed_over(write, image, tmp_path):
    features = np.zeros((3, 8), np.float16)

    def records():
        for k in range(2):
            features[:] = k
            yield image(str(k), features=features)

    write(records())
    assert [float(r.features[0, 0]) for r in ShardReader(tmp_path, "regions")] == [0.0, 1.0]


def test_every_array_is_aligned_and_contiguous(write, image):
    sidecar = write([image("a"), image("b", num_regions=1)])
    offsets = [array.offset for array in sidecar.datasets.values()]
    assert all(offset % 64 == 0 for offset in offsets)


def test_empty_shard_holds_failures_alone(write, tmp_path):
    write([], failures=[Failure("a", "truncated JPEG")])
    reader = ShardReader(tmp_path, "regions")
    assert len(reader) == 0
    assert reader.sidecars[0].failures == {"a": "truncated JPEG"}


def test_same_bytes_from_another_process(write, image, tmp_path, shards):
    code = """
        import sys
        from pathlib import Path
        from pipeline.shards.reader import ShardReader
        from pipeline.shards.writer import write_shard
        source = ShardReader(sys.argv[1], "captions")
        write_shard(Path(sys.argv[2]) / "captions-00000.h5", "captions", source.batch(range(10)),
                    settings=source.settings, fingerprint=source.fingerprint, split="train")
    """
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), shards, tmp_path],
        check=True,
        env=environment,
    )
    for name in ("captions-00000.h5", "captions-00000.json"):
        assert (tmp_path / name).read_bytes() == (shards / name).read_bytes()


@pytest.mark.parametrize("step", range(1, 7))
def test_crash_between_steps_leaves_no_shard_that_exists(write, image, tmp_path, monkeypatch, step):
    """Steps: sync, digest, rename and sync the folder; then sync and rename the sidecar."""
    calls = {"n": 0}

    def crashing(function):
        def call(*arguments):
            calls["n"] += 1
            if calls["n"] == step:
                raise KeyboardInterrupt
            return function(*arguments)

        return call

    for module, name in [(os, "replace"), (os, "fsync"), (writer, "file_digest")]:
        monkeypatch.setattr(module, name, crashing(getattr(module, name)))
    with pytest.raises(KeyboardInterrupt):
        write([image("a")])
    monkeypatch.undo()
    assert not list(tmp_path.glob("*.json"))
    assert not list(tmp_path.glob("*.tmp"))
    with pytest.raises(DataError, match="has no shards of regions"):
        ShardReader(tmp_path, "regions")
    write([image("a")])
    assert ShardReader(tmp_path, "regions").ids == ["a"]


def test_rewriting_crashed_half_way_leaves_neither_the_old_shard_nor_a_mixture(
    write, image, tmp_path, monkeypatch
):
    write([image("old")])
    monkeypatch.setattr(writer, "write_sidecar", lambda *_: (_ for _ in ()).throw(OSError(5, "x")))
    with pytest.raises(OSError, match="Input/output error"):
        write([image("new")])
    with pytest.raises(DataError, match="has no shards"):
        ShardReader(tmp_path, "regions")


def test_killed_process_leaves_no_shard(tmp_path, image, write):
    """SIGKILL while the bytes are being written: the shard is a .tmp, which is none."""
    code = """
        import sys, time
        from pathlib import Path
        import numpy as np
        from pipeline.shards import writer
        from pipeline.shards.records import ImageRegions

        def slow_digest(path, digest=writer.file_digest):
            print("written", flush=True)
            time.sleep(60)
            return digest(path)

        writer.file_digest = slow_digest
        records = [ImageRegions("a", np.ones((36, 64), np.float16))]
        writer.write_shard(Path(sys.argv[1]) / "regions-00000.h5", "regions", records,
                           settings={}, fingerprint={}, split=None)
    """
    arguments = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "written\n"
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    assert [path.name for path in tmp_path.iterdir()] == ["regions-00000.h5.tmp"]
    with pytest.raises(DataError, match="has no shards"):
        ShardReader(tmp_path, "regions")
    write([image("a")])  # a later write takes the place of what was left
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "regions-00000.h5",
        "regions-00000.json",
    ]


@pytest.mark.parametrize("room", [0, 1000, 9000, 60_000], ids="{} bytes free".format)
def test_full_disk_is_an_error_of_the_system_and_leaves_nothing(tmp_path, room):
    """A limit on file sizes stands for the disk; HDF5 meets the small ones, we the last."""
    code = """
        import errno, resource, signal, sys
        from pathlib import Path
        import numpy as np
        from pipeline.shards.records import ImageRegions
        from pipeline.shards.writer import write_shard

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
        try:
            write_shard(Path(sys.argv[1]) / "regions-00000.h5", "regions",
                        [ImageRegions("a", np.ones((400, 256), np.float16))],
                        settings={}, fingerprint={}, split=None)
        except OSError as error:
            assert error.errno == errno.EFBIG, error
            assert error.filename.endswith("regions-00000.h5"), error
            sys.exit(3)
    """
    arguments = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path), str(room)]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    assert not list(tmp_path.iterdir())


def test_no_space_left_keeps_its_number(write, image, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writer, "_fill", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write([image("a")])
    assert caught.value.errno == errno.ENOSPC
    assert not list(tmp_path.iterdir())


def test_sidecar_is_written_after_its_shard(write, image, tmp_path):
    write([image("a")])
    shard, sidecar = (tmp_path / f"regions-00000.{e}" for e in ("h5", "json"))
    assert shard.stat().st_mtime_ns <= sidecar.stat().st_mtime_ns
    assert json.loads(sidecar.read_text())["bytes"] == shard.stat().st_size


def test_clock_leaves_no_trace(write, image, tmp_path, monkeypatch):
    write([image("a")])
    first = (tmp_path / "regions-00000.h5").read_bytes()
    time.sleep(1.1)  # HDF5 times have seconds
    write([image("a")])
    assert (tmp_path / "regions-00000.h5").read_bytes() == first
