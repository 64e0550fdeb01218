from types import SimpleNamespace

import pytest
import torch

from resg.data import splits
from resg.data.splits import SplitReaders, choose_cache

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")
GIGABYTE = 10**9


@pytest.fixture
def machine(monkeypatch):
    """Ten gigabytes of free RAM, eight of free GPU memory."""
    memory = SimpleNamespace(available=10 * GIGABYTE)
    monkeypatch.setattr(splits.psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (8 * GIGABYTE, 80 * GIGABYTE))


@pytest.mark.parametrize(
    ("gigabytes", "device", "cache"),
    [(3, GPU, "device"), (4.5, GPU, "ram"), (6, GPU, "map"), (3, CPU, "ram"), (6, CPU, "map")],
)
def test_features_are_kept_where_they_fill_at_most_half(gigabytes, device, cache, machine):
    assert choose_cache("auto", int(gigabytes * GIGABYTE), device) == cache


def test_a_cache_that_was_asked_for_is_taken(machine):
    assert choose_cache("ram", 100 * GIGABYTE, CPU) == "ram"


def test_bytes_of_features_and_hashes_come_from_the_sidecars(shards, world):
    readers = SplitReaders.open(shards, "train")
    assert readers.feature_bytes == 48 * 3 * world.feature_width * 2
    hashes = readers.hashes()
    assert set(hashes) == {"regions-00000.h5", "captions-00000.h5"}
    assert all(len(digest) == 64 for digest in hashes.values())
