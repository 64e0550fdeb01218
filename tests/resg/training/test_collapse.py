"""No preset collapses at its own losses on few images, whatever the batch and the seed."""

import pytest
import torch

from resg.jobs import train_run
from resg.presets import load_settings, preset_names

CPU = torch.device("cpu")
SMALL = ("model.width=64", "model.graph.heads=4", "model.text.word_width=32")


@pytest.mark.slow
@pytest.mark.parametrize(("batch_size", "seed"), [(16, 0), (64, 1)])
@pytest.mark.parametrize("preset", [p for p in preset_names() if p != "resg-bert"])
def test_a_preset_trains_at_its_own_losses(preset, batch_size, seed, world, tmp_path):
    for number, (split, count) in enumerate((("train", 96), ("val", 24))):
        images, captions = world.make_split(split, count, number)
        world.write_split(tmp_path / "s", number, split, images, captions)
    changes = (*SMALL, f"train.batch_size={batch_size}", f"train.seed={seed}", "train.epochs=40")
    metrics = train_run(tmp_path / "s", tmp_path / "run", load_settings(preset, changes), CPU)
    assert metrics.rsum > 200  # chance is 150; an alarm would have stopped the run
