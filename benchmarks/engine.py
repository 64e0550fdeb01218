"""What does the stage engine cost by itself?  python benchmarks/engine.py

200 shards of trivial work are made by a plain loop that calls the same stage and writer, and by
`run_stage` on threads and on processes. The engine may take 5 s more than the loop.
"""

import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from pipeline.execution import ExecutionSettings, run_stage
from pipeline.manifests.manifest import ImageItem
from pipeline.shards.records import ImageRegions
from pipeline.shards.schema import Kind
from pipeline.shards.writer import write_shard

SHARDS = 200
IMAGES = 10
ALLOWED_SECONDS = 5.0


@dataclass(frozen=True)
class Trivial:
    """One region of zeros an image."""

    kind: Kind = "regions"
    name = "trivial"
    dtype = "float16"
    names = None
    settings = {}  # noqa: RUF012 - a constant, read alone

    def fingerprint(self):
        """Nothing was learned."""
        return {}

    def process(self, items, threads):
        """Zeros."""
        for item in items:
            yield ImageRegions(item.image_id, np.zeros((1, 8), np.float32))


def plain_loop(items, out):
    for number in range(SHARDS):
        shard = items[number * IMAGES : (number + 1) * IMAGES]
        write_shard(
            out / f"regions-{number:05d}.h5",
            "regions",
            Trivial().process(shard, 1),
            settings={},
            fingerprint={},
            split="all",
        )


def engine(items, out, processes):
    execution = ExecutionSettings(shard_size=IMAGES, workers=2, processes=processes, progress=False)
    run_stage(Trivial(), items, out, execution)


def timed(work, items, folder, *arguments):
    start = time.perf_counter()
    work(items, folder, *arguments)
    return time.perf_counter() - start


def main():
    items = [ImageItem(f"{i}.jpg", Path(f"{i}.jpg"), "all") for i in range(SHARDS * IMAGES)]
    folder = Path(tempfile.mkdtemp())
    try:
        loop = timed(plain_loop, items, folder / "loop")
        seconds = {
            "run_stage, 2 threads": timed(engine, items, folder / "threads", False),
            "run_stage, 2 processes": timed(engine, items, folder / "processes", True),
        }
    finally:
        shutil.rmtree(folder)
    table = Table("", "seconds", "more than the loop", "allowed", title=f"{SHARDS} trivial shards")
    table.add_row("plain loop", f"{loop:.2f}", "-", "-")
    for name, taken in seconds.items():
        table.add_row(name, f"{taken:.2f}", f"{taken - loop:+.2f}", f"{ALLOWED_SECONDS:+.2f}")
    Console().print(table)
    return int(max(seconds.values()) - loop > ALLOWED_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
