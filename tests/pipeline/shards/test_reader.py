"""Random access, in this process and in workers; what does not belong together is refused."""

import errno
import gc
import json
import os
import pickle
import resource
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest
from torch.utils.data import DataLoader

from pipeline.errors import DataError
from pipeline.shards import reader as reader_module
from pipeline.shards.reader import ShardReader
from pipeline.shards.sidecar import shard_path
from pipeline.shards.writer import write_shard


def test_records_of_all_shards_are_one_sequence(shards, image):
    reader = ShardReader(shards, "regions")
    assert len(reader) == 10
    assert reader.ids[4:6] == ["image-0-4", "image-1-0"]
    assert reader[7].image_id == "image-1-2"
    assert reader[-1].image_id == "image-1-4"
    assert reader[np.int64(3)].features.shape == (4, 8)
    assert [record.image_id for record in reader] == reader.ids
    assert [r.image_id for r in reader.batch([9, 0])] == ["image-1-4", "image-0-0"]
    np.testing.assert_array_equal(
        reader[7].features, image("x", num_regions=3, seed=2).features.astype("f2")
    )
    for wrong in (10, -11):
        with pytest.raises(IndexError, match="of 10"):
            reader[wrong]


def test_ids_lead_to_records_and_captions(shards):
    regions, captions = ShardReader(shards, "regions"), ShardReader(shards, "captions")
    assert regions.index("image-1-0") == 5
    assert captions.captions_of("image-1-0") == [10, 11]
    assert captions.captions_of("nowhere") == []
    assert captions[captions.index("image-1-0#1")].image_id == "image-1-0"
    assert captions.image_ids[10] == "image-1-0"
    with pytest.raises(DataError, match=r"has no regions of 'nowhere'"):
        regions.index("nowhere")


def test_arrays_of_a_shard_need_no_step_a_record(shards):
    captions = ShardReader(shards, "captions")
    arrays, strings = captions.arrays(1), captions.strings(1)
    assert [strings[code] for code in arrays["form"][:4]] == list(captions[10].forms)
    assert captions.lengths.tolist() == [4] * 20
    regions = ShardReader(shards, "regions")
    assert regions.lengths.tolist() == [1, 2, 3, 4, 5] * 2
    np.testing.assert_array_equal(regions.features(6), regions[6].features)


def test_views_are_read_only_and_outlive_their_reader(shards):
    features = ShardReader(shards, "regions")[3].features
    gc.collect()
    with pytest.raises(ValueError, match="read-only"):
        features[0, 0] = 1
    assert np.isfinite(features).all()


def test_split_is_chosen(shards, image, made_by, names):
    path = shard_path(shards, "regions", 2)
    write_shard(path, "regions", [image("new")], split="test", names=names, **made_by)
    assert ShardReader(shards, "regions", "test").ids == ["new"]
    assert len(ShardReader(shards, "regions")) == 11
    with pytest.raises(DataError, match=r"no regions of split 'dev', only of test, train"):
        ShardReader(shards, "regions", "dev")


def test_what_made_the_shards_is_known(shards, made_by):
    reader = ShardReader(shards, "regions")
    assert reader.fingerprint == made_by["fingerprint"]
    assert reader.settings == made_by["settings"]
    assert reader.names["labels"] == ("cat", "dog", "man")
    assert reader.sidecars[1].names is reader.names
    assert ShardReader(shards, "captions").names is None


NAMES = {"labels": ["cat", "dog", "man"], "attributes": ["red", "big"], "relations": ["on", "by"]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fingerprint": {"detector": "c3d4"}}, "fingerprint.detector: 'a1b2' here, 'c3d4' there"),
        ({"settings": {"boxes": 100}}, "settings.boxes: 36 here, 100 there"),
        ({"names": {**NAMES, "labels": ["x"] * 500}}, "their names differ"),
    ],
)
def test_shards_of_different_origin_are_not_mixed(shards, image, made_by, names, changes, message):
    settings = {"names": names, **made_by, **changes}
    record = image("new", labels=None, attributes=None, relations=None, relation_scores=None)
    write_shard(shard_path(shards, "regions", 2), "regions", [record], split="train", **settings)
    with pytest.raises(DataError, match=message):
        ShardReader(shards, "regions")


def test_truncated_shard_is_noticed_when_opened(shards):
    shard = shards / "regions-00001.h5"
    os.truncate(shard, shard.stat().st_size - 1)
    with pytest.raises(DataError, match=r"regions-00001.h5 has .* bytes, its sidecar says"):
        ShardReader(shards, "regions")


def test_shard_that_shrinks_later_is_noticed_when_mapped(shards):
    reader = ShardReader(shards, "regions")
    os.truncate(shards / "regions-00001.h5", 1000)
    assert reader[0].image_id == "image-0-0"
    with pytest.raises(DataError, match="changed while in use"):
        reader[9]


def test_folder_without_shards_says_what_makes_them(tmp_path):
    with pytest.raises(DataError, match=r"has no shards of captions.*pipeline parse-captions"):
        ShardReader(tmp_path, "captions")


def test_hdf5_is_not_used_for_our_own_shards(shards, monkeypatch):
    monkeypatch.setattr(h5py, "File", None)
    assert len(list(ShardReader(shards, "regions"))) == 10
    assert len(list(ShardReader(shards, "captions"))) == 20


def test_few_maps_are_kept(shards, monkeypatch):
    monkeypatch.setattr(reader_module, "MAX_OPEN_SHARDS", 1)
    reader = ShardReader(shards, "regions")
    kept = [reader[i].features for i in (0, 9, 0, 9)]
    assert len(reader._opened) == 1
    np.testing.assert_array_equal(kept[0], kept[2])


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files by /proc")
def test_all_readers_of_a_process_share_the_limit(shards, monkeypatch):
    monkeypatch.setattr(reader_module, "MAX_OPEN_SHARDS", 2)
    readers = [ShardReader(shards, "regions") for _ in range(4)]
    readers += [ShardReader(shards, "captions") for _ in range(4)]
    before = open_files()
    for reader in readers * 2:
        assert len(list(reader)) == len(reader)
    assert open_files() <= before + 2
    assert readers[0].ids[0] == "image-0-0"


def test_a_quarter_of_the_open_files_is_used(monkeypatch):
    def limit(soft):
        monkeypatch.setattr(reader_module.resource, "getrlimit", lambda _: (soft, soft))
        return reader_module._most_open()

    assert [limit(soft) for soft in (3, 256, 1024, 65_536, resource.RLIM_INFINITY)] == [
        1, 64, 256, 512, 512]  # fmt: skip


def test_without_files_to_open_the_error_says_what_to_do(shards, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    reader = ShardReader(shards, "regions")
    monkeypatch.setattr(reader_module, "open_shard", refuse)
    with pytest.raises(DataError, match=r"has 2 shards.*ulimit -n.*--shard-size"):
        reader[0]


def test_pickled_reader_has_no_maps_and_reads_on(shards):
    reader = ShardReader(shards, "regions", "train")
    first = reader[0].features.copy()
    assert reader.index("image-0-0") == 0
    copy = pickle.loads(pickle.dumps(reader))
    assert not copy._opened
    np.testing.assert_array_equal(copy[0].features, first)
    assert copy.index("image-1-4") == 9


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize(("start", "workers"), [("fork", 2), ("spawn", 1)])
def test_workers_read_what_this_process_reads(shards, start, workers):
    reader = ShardReader(shards, "regions")
    here = [reader[i].features.copy() for i in range(10)]  # maps are open before the fork
    loader = DataLoader(
        reader, batch_size=2, num_workers=workers, collate_fn=list, multiprocessing_context=start
    )
    there = [record for batch in loader for record in batch]
    assert [record.image_id for record in there] == reader.ids
    for ours, record in zip(here, there, strict=True):
        np.testing.assert_array_equal(ours, record.features)


def test_threads_read_at_once(shards, monkeypatch):
    monkeypatch.setattr(reader_module, "MAX_OPEN_SHARDS", 1)
    reader = ShardReader(shards, "regions")
    expected = [record.features.tobytes() for record in reader]
    wrong = []

    def read():
        for i in np.random.default_rng(0).integers(0, 10, 200):
            if reader[i].features.tobytes() != expected[i]:
                wrong.append(i)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_sidecar_that_names_no_place_for_an_array_is_refused(shards):
    path = shards / "regions-00000.json"
    content = json.loads(path.read_text())
    content["datasets"]["features"][0] = None
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="does not say where features begin"):
        ShardReader(shards, "regions")
