"""Sidecars add up."""

import json

import pytest

from pipeline.errors import DataError
from pipeline.shards.info import summarise_shards
from pipeline.shards.records import Failure
from pipeline.shards.sidecar import shard_path
from pipeline.shards.writer import write_shard


def test_sums_are_by_kind_split_and_maker(shards, image, made_by, names):
    failures = [Failure("x", "empty file")]
    for number, (split, fingerprint) in enumerate(
        [("test", made_by["fingerprint"]), ("test", {"detector": "other"})], start=2
    ):
        write_shard(
            shard_path(shards, "regions", number),
            "regions",
            [image("a", num_regions=7)],
            split=split,
            names=names,
            settings={},
            fingerprint=fingerprint,
            failures=failures,
        )
    summaries = summarise_shards(shards).summaries
    assert [(s.kind, s.split, s.shards) for s in summaries] == [
        ("regions", "test", 1),
        ("regions", "test", 1),
        ("regions", "train", 2),
        ("captions", "train", 2),
    ]
    train, captions = summaries[2:]
    assert train.counts == {"images": 10, "regions": 30, "relations": 20}
    assert train.mean_boxes == 3.0
    assert (train.feature_width, train.feature_dtype) == (8, "float16")
    assert train.bytes == sum(p.stat().st_size for p in shards.glob("regions-0000[01].h5"))
    assert captions.counts["tokens"] == 80
    assert captions.mean_boxes is None
    assert [s.failures for s in summaries] == [1, 1, 0, 0]


def test_table_and_json_say_the_same(shards):
    info = summarise_shards(shards)
    regions, captions = json.loads(info.to_json())["summaries"]
    assert regions["counts"]["images"] == 10
    assert regions["mean_boxes"] == 3.0
    lines = [line.split() for line in info.to_table().splitlines()]
    assert lines[3][:7] == ["train", "2", "10", "30", "3.0", "8", "16"]
    assert lines[6][:5] == ["train", "2", "20", str(captions["counts"]["tokens"]), "40"]
    assert '"detector": "a1b2"' in info.to_table()


def test_empty_shards_and_folders(tmp_path, made_by):
    with pytest.raises(DataError, match="has no shards"):
        summarise_shards(tmp_path)
    write_shard(shard_path(tmp_path, "regions", 0), "regions", [], split=None, **made_by)
    (summary,) = summarise_shards(tmp_path).summaries
    assert summary.mean_boxes is None
    assert " all " in f" {summarise_shards(tmp_path).to_table()} ".replace("\n", " ")
