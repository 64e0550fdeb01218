import numpy as np
import pytest
import torch

from resg.errors import ResgError
from resg.evaluation.ranking import score_matrix_metrics
from resg.jobs import evaluate_runs, score_run, train_run, train_seeds
from resg.presets import load_settings

CPU = torch.device("cpu")
SMALL = (
    "model.width=16",
    "model.text.word_width=8",
    "train.batch_size=16",
    "train.epochs=3",
    "train.learning_rate=0.003",
)


def test_an_ensemble_is_the_mean_matrix(shards, tmp_path):
    runs = [tmp_path / "a", tmp_path / "b"]
    for seed, run in enumerate(runs):
        train_run(shards, run, load_settings("vse++", (*SMALL, f"train.seed={seed}")), CPU)
    matrices = [score_run(run, "test", CPU) for run in runs]
    owner = matrices[0][1].captions.image.numpy()
    mean = (matrices[0][0].astype(np.float64) + matrices[1][0]) / 2
    assert not np.allclose(matrices[0][0], matrices[1][0])
    figures = evaluate_runs(runs, "test", "full", CPU)
    assert figures["rsum"] == pytest.approx(score_matrix_metrics(mean, owner).rsum)


def test_an_ensemble_of_runs_on_other_captions_is_refused(shards, world, tmp_path):
    other = tmp_path / "other"
    for number, (split, count) in enumerate((("train", 48), ("val", 12), ("test", 12))):
        images, captions = world.make_split(split, count, number)
        world.write_split(other, number, split, images, captions[::-1])
    for name, data in (("a", shards), ("b", other)):
        train_run(data, tmp_path / name, load_settings("vse++", SMALL), CPU)
    runs = [tmp_path / "a", tmp_path / "b"]
    with pytest.raises(ResgError, match="--shards"):
        evaluate_runs(runs, "test", "full", CPU)
    assert evaluate_runs(runs, "test", "full", CPU, shards)["rsum"] > 0


def test_seeds_give_their_mean_and_sample_deviation(shards, tmp_path):
    settings = load_settings("vse++", (*SMALL, "train.seed=4"))
    folders = train_seeds(shards, tmp_path / "s", settings, 3, CPU)
    assert [folder.name for folder in folders] == ["seed-4", "seed-5", "seed-6"]
    single = [evaluate_runs([folder], "test", "full", CPU) for folder in folders]
    figures = evaluate_runs([tmp_path / "s"], "test", "full", CPU)
    rsums = [own["rsum"] for own in single]
    assert figures["runs"] == 3
    assert figures["rsum"] == pytest.approx(np.mean(rsums))
    assert figures["deviation"]["rsum"] == pytest.approx(np.std(rsums, ddof=1))
    assert len(set(rsums)) > 1
