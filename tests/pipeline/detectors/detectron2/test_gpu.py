"""detectron2 on a real GPU: the same as on the CPU, half precision, and too little memory."""

import numpy as np
import pytest
import torch
from networks import batch_of, network, slim

pytest.importorskip("detectron2", reason="detectron2 is not installed")

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.detectron2,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
]


@pytest.fixture
def exact(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def photos(count, height=96, width=128, seed=0):
    random = np.random.default_rng(seed)
    blocks = random.integers(0, 256, (count, 6, 8, 3), dtype=np.uint8)
    return [np.kron(b, np.ones((height // 6, width // 8, 1), np.uint8)) for b in blocks]


def proposing(kind):
    """A network that tells its proposals, whose features are compared.

    Boxes refined by random weights often are the whole picture, for proposals that lie elsewhere.
    """
    config = slim(kind)
    config.MODEL.REGIONS.BOXES = "proposals"
    return config


def matched(one, two):
    """Rows of two candidates that are the same proposal; of nearly equal ones each may miss one."""
    distances = np.abs(one.boxes[:, None] - two.boxes[None]).max(2)
    rows = np.flatnonzero(distances.min(1) < 0.1)
    assert len(rows) > 0.9 * len(one.boxes)
    return rows, distances.argmin(1)[rows]


def assert_equal_features(one, two):
    ours, theirs = matched(one, two)
    difference = one.features[ours] - two.features[theirs]
    assert np.abs(difference).max() < 1e-3 * np.abs(one.features).max()


@pytest.mark.parametrize("kind", ["c4", "fpn"])
def test_a_gpu_gives_what_the_cpu_gives(kind, exact):
    batch = batch_of(photos(4))
    on_cpu, on_gpu = network(proposing(kind)), network(proposing(kind), "cuda")
    for one, two in zip(on_cpu.start(batch)(), on_gpu.start(batch)(), strict=True):
        assert_equal_features(one, two)


def test_batches_under_way_do_not_overwrite_each_other(exact):
    ours = network(slim("c4"), "cuda")
    batches = [batch_of(photos(4, 480, 640, seed)) for seed in range(12)]
    alone = [ours.start(batch)() for batch in batches]
    for _ in range(3):
        waiting = [ours.start(batch.copy()) for batch in batches]  # each copy is freed at once
        for expected, finish in zip(alone, waiting, strict=True):
            for one, two in zip(expected, finish(), strict=True):
                assert np.abs(one.boxes - two.boxes).max() < 1e-2
                assert np.abs(one.features - two.features).max() < 1e-4 * one.features.max()


def test_a_picture_without_proposals_goes_through_fused_blocks(exact):
    heads = network(slim("c4"), "cuda").module
    blocks = heads.model.roi_heads.res5
    assert {type(block).__name__ for block in blocks} == {"FusedBlock"}
    assert blocks(torch.zeros(0, 64, 6, 6, device="cuda")).shape == (0, 128, 3, 3)


def test_half_precision_stays_near(exact):
    batch = batch_of(photos(2))
    full, half = network(proposing("c4"), "cuda"), network(proposing("c4"), "cuda")
    half.is_half = True
    for one, two in zip(full.start(batch)(), half.start(batch)(), strict=True):
        assert two.boxes.dtype == two.class_scores.dtype == np.float32
        distances = np.abs(one.boxes[:, None] - two.boxes[None]).max(2)
        is_same = distances.min(1) < 1
        assert is_same.mean() > 0.5
        near = two.features[distances.argmin(1)[is_same]].astype(np.float32)
        error = np.linalg.norm(one.features[is_same] - near, axis=1)
        assert np.median(error / np.linalg.norm(one.features[is_same], axis=1)) < 1e-2


def test_memory_that_is_too_small_for_a_batch_halves_it(exact, caplog):
    ours = network(proposing("c4"), "cuda")
    batch = batch_of(photos(8, 960, 1280))
    expected = ours.start(batch)()
    peaks = []
    for count in (1, 8):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        ours.start(batch[:count])()
        peaks.append(torch.cuda.max_memory_reserved())
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((0.4 * peaks[0] + 0.6 * peaks[1]) / total)
    try:
        halved = ours.start(batch)()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "memory is too small for a batch of 8 pictures; continuing with 4" in caplog.text
    for one, two in zip(expected, halved, strict=True):
        assert_equal_features(one, two)
