"""Train presets with several seeds on the same shards and print one table, chance with it.

What was trained already is not trained again, so the work can be cut in pieces (--minutes).
"""

import argparse
import shutil
import time
from pathlib import Path

import torch

from resg.jobs import evaluate_runs, train_run
from resg.presets import load_settings
from resg.progress import evaluation_text
from resg.training.alarms import TrainingError
from resg.training.run_log import read_metrics

PRESETS = ("vse++", "vse-inf", "scan-t2i", "scan-i2t", "resg-gru", "resg-no-edges")
CPU = torch.device("cpu")


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
    print(evaluation_text(rows))
