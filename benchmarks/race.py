"""Presets, or the parts of one, on the same photographs with several seeds: one table.

    python benchmarks/race.py --shards f8k-shards --out runs --device cuda --jobs 8
    python benchmarks/race.py --shards f8k-shards --out runs --device cuda --jobs 8 --ablations
    python benchmarks/race.py ... --table               # of what is trained already

Each run is a process of `resg train`, a few of them side by side: one training at Flickr8k's size
leaves most of a GPU idle. What was trained already is not trained again. Weights are chosen by
validation rSum, and the table is of the validation split unless `--split` says otherwise.
"""

import argparse
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from preset_table import PRESETS

from resg.devices import choose_device
from resg.jobs import evaluate_runs
from resg.progress import evaluation_text
from resg.run_folder import BEST_WEIGHTS

ABLATIONS = {
    "all": "",
    "no visual edges": "model.visual_graph.edges=none",
    "no textual edges": "model.textual_graph.edges=none",
    "no edges": "model.visual_graph.edges=none model.textual_graph.edges=none",
    "no content in attention": "model.graph.content=false",
    "no contextual order": "model.graph.contextual_order=false",
    "no global score": "model.similarity.embeddings=false",
    "no node score": "model.similarity.nodes=none",
    "no triplet loss": "loss.triplet_weight=0",
    "no contrastive loss": "loss.contrastive_weight=0",
    "no center loss": "loss.center_weight=0",
    "no margin loss": "loss.margin_weight=0",
}
"""Row of the table to what is changed of the preset."""


def main() -> None:
    """Read the command line, train what is missing, print the table of what is there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shards", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--presets", nargs="+", default=list(PRESETS))
    parser.add_argument("--ablations", action="store_true", help="parts of the first preset")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--set", nargs="*", default=[], metavar="PATH=VALUE", help="for all runs")
    parser.add_argument("--split", default="val")
    parser.add_argument("--pairs", type=Path, help="hard pairs, as make-scenes writes them")
    parser.add_argument("--table", action="store_true", help="train nothing")
    arguments = parser.parse_args()
    rows = {preset: (preset, "") for preset in arguments.presets}
    if arguments.ablations:
        preset = "resg-gru" if "resg-gru" in rows else arguments.presets[0]
        rows = {name: (preset, changes) for name, changes in ABLATIONS.items()}

    def train(job: tuple[str, int]) -> None:
        name, seed = job
        folder = arguments.out / name.replace(" ", "-") / f"seed-{seed}"
        if arguments.table or (folder / BEST_WEIGHTS).exists():
            return
        preset, changes = rows[name]
        settings = [*changes.split(), *arguments.set, f"train.seed={seed}"]
        command = [sys.executable, "-m", "resg", "train", "--preset", preset]
        command += ["--shards", str(arguments.shards), "--out", str(folder)]
        command += ["--device", arguments.device]
        for setting in settings:
            command += ["--set", setting]
        begun = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        told = f"{time.monotonic() - begun:.0f} s" if not done.returncode else done.stderr.strip()
        print(f"{name}, seed {seed}: {told}", flush=True)

    with ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(train, [(name, k) for k in range(arguments.seeds) for name in rows]))
    device, table = choose_device(arguments.device), {}
    for name in rows:
        runs = arguments.out / name.replace(" ", "-")
        if list(runs.glob(f"seed-*/{BEST_WEIGHTS}")):
            table[name] = evaluate_runs(
                [runs], arguments.split, "full", device, arguments.shards, arguments.pairs
            )
    print(evaluation_text(table))


if __name__ == "__main__":
    main()
