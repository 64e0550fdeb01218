"""Shards on file systems without locks, or with locks that others hold: nobody asks for one.

A lock that another open file holds makes `flock` fail as it does where there are no locks.
"""

import errno
import fcntl
import os
from contextlib import contextmanager
from pathlib import Path

import h5py
import pytest

from pipeline.errors import DataError
from pipeline.fingerprint import file_digest
from pipeline.shards.hdf5 import read_damaged_layout, read_layout
from pipeline.shards.reader import ShardReader
from pipeline.shards.sidecar import shard_path
from pipeline.shards.verify import verify_shards
from pipeline.shards.writer import write_shard


@contextmanager
def locked(path):
    with path.open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def test_such_a_lock_stops_hdf5_itself(shards):
    path = shard_path(shards, "regions", 0)
    with locked(path), pytest.raises(OSError, match="unable to lock"):
        h5py.File(path, "r")


def test_a_shard_is_written_without_a_lock(tmp_path, image, made_by):
    path = shard_path(tmp_path, "regions", 0)
    with locked(path.with_name(path.name + ".tmp")):
        write_shard(path, "regions", [image("a")], split="train", **made_by)
    assert ShardReader(tmp_path, "regions")[0].image_id == "a"


def test_a_shard_is_verified_and_read_without_a_lock(shards):
    path = shard_path(shards, "captions", 1)
    with locked(path):
        assert verify_shards(shards, full=True).ok
        assert read_layout(path) == read_damaged_layout(path)
        assert len(list(ShardReader(shards, "captions"))) == 20


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EACCES, errno.EIO])
def test_a_whole_shard_that_cannot_be_read_is_not_to_be_made_again(shards, number, monkeypatch):
    def refuse(*_, **__):
        raise OSError(f"Unable to synchronously open file (unable to lock file, errno = {number})")

    monkeypatch.setattr(h5py, "File", refuse)
    report = verify_shards(shards, full=True)
    assert len(report.problems) == 4
    for problem in report.problems:
        assert os.strerror(number) in problem.message
        assert "may be whole" in problem.message
        assert "again" not in problem.message


def test_a_folder_that_cannot_be_synchronised_is_written_to(tmp_path, image, made_by, monkeypatch):
    def refuse_folders(descriptor, fsync=os.fsync):
        if Path(f"/dev/fd/{descriptor}").is_dir():
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    path = shard_path(tmp_path, "regions", 0)
    sidecar = write_shard(path, "regions", [image("a")], split="train", **made_by)
    assert file_digest(path) == sidecar.sha256


def test_a_damaged_file_is_to_be_made_again(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"no HDF5" * 100)
    with pytest.raises(DataError, match="Make it again"):
        read_layout(tmp_path / "a.h5")
