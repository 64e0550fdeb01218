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


def photos(count, height=96, width=128):
    random = np.random.default_rng(0)
    blocks = random.integers(0, 256, (count, 6, 8, 3), dtype=np.uint8)
    return [np.kron(b, np.ones((height // 6, width // 8, 1), np.uint8)) for b in blocks]


@pytest.mark.parametrize("kind", ["c4", "fpn"])
def test_a_gpu_gives_what_the_cpu_gives(kind, exact):
    batch = batch_of(photos(4))
    for one, two in zip(
        network(slim(kind)).start(batch)(), network(slim(kind), "cuda").start(batch)(), strict=True
    ):
        # proposals of nearly equal objectness may change places
        distances = np.abs(one.boxes[:, None] - two.boxes[None]).max(2)
        nearest = distances.argmin(1)
        is_same = distances.min(1) < 0.1
        assert is_same.mean() > 0.95
        difference = one.features[is_same] - two.features[nearest[is_same]]
        assert np.abs(difference).max() < 1e-3 * np.abs(one.features).max()


def test_half_precision_stays_near(exact):
    batch = batch_of(photos(2))
    full, half = network(slim("c4"), "cuda"), network(slim("c4"), "cuda")
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
    ours = network(slim("c4"), "cuda")
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
    assert "the GPU's memory is too small for 8 pictures at once; going on with 4" in caplog.text
    for one, two in zip(expected, halved, strict=True):
        assert np.abs(one.features - two.features).max() < 1e-3 * np.abs(one.features).max()
