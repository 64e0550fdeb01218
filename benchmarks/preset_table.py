"""Train presets with several seeds on the same shards and print one table, chance with it.

What was trained already is not trained again, so the work can be cut in pieces (--minutes).
"""

import argparse
import shutil
import time
from math import comb
from pathlib import Path
from typing import Any

import torch

from pipeline.shards.reader import ShardReader
from resg.jobs import evaluate_runs, train_run
from resg.presets import load_settings
from resg.progress import metrics_table
from resg.training.alarms import TrainingError
from resg.training.run_log import read_metrics

PRESETS = ("vse++", "vse-inf", "scan-t2i", "scan-i2t", "resg-gru", "resg-no-edges")
CPU = torch.device("cpu")


def chance(shards: Path) -> dict[str, Any]:
    """The recalls that guessing gives on the test split."""
    images = len(ShardReader(shards, "regions", "test"))
    captions = len(ShardReader(shards, "captions", "test"))
    own = captions // images

    def found(k: int) -> float:
        """Share of images with one of their captions among k drawn at random."""
        return 1 - comb(captions - own, k) / comb(captions, k)

    half = next(k for k in range(1, captions + 1) if found(k) >= 0.5)
    figures: dict[str, Any] = {
        "i2t": {f"r{k}": 100 * found(k) for k in (1, 5, 10)},
        "t2i": {f"r{k}": 100 * k / images for k in (1, 5, 10)},
    }
    figures["rsum"] = sum(sum(way.values()) for way in figures.values())
    figures["i2t"]["medr"] = half
    figures["t2i"]["medr"] = (images + 1) / 2
    return figures


def is_trained(folder: Path, epochs: int) -> bool:
    """Whether a run reached its last epoch."""
    if not (folder / "metrics.jsonl").exists():
        return False
    return any(e["kind"] == "validation" and e["epoch"] == epochs for e in read_metrics(folder))


def compare_presets(description: str, epochs: int, changes: tuple[str, ...] = ()) -> None:
    """Read the command line, train what is missing, print the table of what is there.

    Args:
        description: of the benchmark.
        epochs: unless the command line says otherwise.
        changes: settings of this benchmark, for all presets.
    """
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--shards", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--presets", nargs="+", default=list(PRESETS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--set", nargs="*", default=[], metavar="PATH=VALUE")
    parser.add_argument("--pairs", type=Path, help="hard pairs, as make-scenes writes them")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no run after these")
    parser.add_argument("--table", action="store_true", help="train nothing")
    arguments = parser.parse_args()
    changes += (
        f"model.width={arguments.width}",
        f"train.epochs={arguments.epochs}",
        "train.batch_size=64",
        "train.learning_rate=0.001",
        *arguments.set,
    )
    begun = time.monotonic()
    jobs = [(preset, seed) for seed in range(arguments.seeds) for preset in arguments.presets]
    for preset, seed in jobs:
        folder = arguments.out / preset / f"seed-{seed}"
        is_late = time.monotonic() - begun > 60 * arguments.minutes
        if is_trained(folder, arguments.epochs) or arguments.table or is_late:
            continue
        start = time.monotonic()
        settings = load_settings(preset, (*changes, f"train.seed={seed}"))
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was stopped
        try:
            metrics = train_run(arguments.shards, folder, settings, CPU)
        except TrainingError as error:  # an alarm: the table does without this run
            shutil.rmtree(folder)
            print(f"{preset}, seed {seed}: {error}", flush=True)
            continue
        seconds = time.monotonic() - start
        print(
            f"{preset}, seed {seed}: validation rSum {metrics.rsum:.1f}, {seconds:.0f} s",
            flush=True,
        )
    shards, pairs = arguments.shards, arguments.pairs
    trained = [p for p in arguments.presets if list((arguments.out / p).glob("seed-*/best*"))]
    rows = {
        preset: evaluate_runs([arguments.out / preset], "test", "full", CPU, shards, pairs)
        for preset in trained
    }
    guessing = chance(shards) if pairs is None else {**chance(shards), "hard_pairs": {"all": 50.0}}
    print(metrics_table({**rows, "guessing": guessing}))
