"""A sidecar reads back as written, and a damaged one says what is wrong."""

import json
import os

import pytest

from pipeline.errors import DataError
from pipeline.shards.sidecar import check_shard_file, find_sidecars, read_sidecar


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def sidecar(shards):
    return shards / "regions-00000.json"


def test_reading_gives_what_was_written(sidecar):
    assert read_sidecar(sidecar).to_json() == sidecar.read_text()


def test_order_of_settings_does_not_change_the_text(sidecar):
    read = read_sidecar(sidecar)
    turned = read.model_copy(update={"settings": {"b": 1, "a": 2}})
    assert turned.to_json() == read.model_copy(update={"settings": {"a": 2, "b": 1}}).to_json()


def test_sidecars_of_a_kind_are_sorted_and_other_files_left_alone(shards):
    for name in ("regions.json", "captions.json", "scenes.yaml", "regions-00002.h5.tmp"):
        (shards / name).write_text("{}")
    names = [path.name for path in find_sidecars(shards, "regions")]
    assert names == ["regions-00000.json", "regions-00001.json"]
    assert len(find_sidecars(shards)) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a sidecar of a shard: Invalid JSON"),
        ("[1]", "not a sidecar of a shard"),
        ('{"schema_version": 1}', "not a sidecar of a shard: file: Field required"),
        ('{"schema_version": 2, "new": 1}', "schema version 2, this program reads 1"),
    ],
)
def test_what_is_no_sidecar_is_refused(sidecar, text, message):
    sidecar.write_text(text)
    with pytest.raises(DataError, match=message):
        read_sidecar(sidecar)


def test_other_version_is_refused(sidecar):
    edit(sidecar, schema_version=99)
    with pytest.raises(DataError, match="schema version 99, this program reads 1"):
        read_sidecar(sidecar)


def test_renamed_sidecar_is_refused(sidecar, shards):
    sidecar.rename(shards / "regions-00007.json")
    with pytest.raises(DataError, match=r"describes regions-00000.h5, not regions-00007.h5"):
        read_sidecar(shards / "regions-00007.json")


def test_missing_sidecar_and_missing_shard_are_named(sidecar, shards):
    (shards / "regions-00000.h5").unlink()
    with pytest.raises(DataError, match=r"no shard beside it: expected regions-00000.h5"):
        check_shard_file(read_sidecar(sidecar), sidecar)
    sidecar.unlink()
    with pytest.raises(DataError, match="is missing"):
        read_sidecar(sidecar)


def test_newer_shard_is_believed_only_if_its_hash_is_right(sidecar, shards):
    shard = shards / "regions-00000.h5"
    later = sidecar.stat().st_mtime_ns + 10**9
    os.utime(shard, ns=(later, later))
    check_shard_file(read_sidecar(sidecar), sidecar)

    content = bytearray(shard.read_bytes())
    content[-3] ^= 1
    shard.write_bytes(content)
    os.utime(shard, ns=(later, later))
    with pytest.raises(DataError, match="changed after its sidecar was written"):
        check_shard_file(read_sidecar(sidecar), sidecar)


def test_folder_that_is_none_is_named(tmp_path):
    with pytest.raises(DataError, match="expected a folder of shards"):
        find_sidecars(tmp_path / "no")


def test_names_seen_before_are_not_parsed_again_and_never_mistaken(shards):
    """Names with what ends them in the text, other names, and none at all."""
    path = shards / "regions-00000.json"
    known = {}
    for names in [{"labels": ("\n },", "x")}, {"labels": ("\n },", "y")}, {}, None] * 2:
        content = read_sidecar(path).model_copy(update={"names": names})
        path.write_text(content.to_json())
        assert read_sidecar(path, known).names == names
        assert read_sidecar(path, known) == read_sidecar(path)
    assert len(known) == 2


def test_reformatted_sidecar_is_read(sidecar):
    expected = read_sidecar(sidecar)
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text())))
    assert read_sidecar(sidecar, {}) == expected
