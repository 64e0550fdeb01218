"""Does training on Flickr30K-sized features get by without loading them?

    python benchmarks/mapped_training.py                       # 31,014 images, the cache `map`
    python benchmarks/mapped_training.py --cache ram           # the same features held in memory
    python benchmarks/mapped_training.py --images 300 --captions 2 --width 64 --steps 2   # a try

Writes region shards of 36 x 2,048 float16 an image (4.6 GB; they say nothing) and captions, trains
some steps of `resg-gru` on the CPU, and prints the peak of anonymous memory: what a process holds
itself, without pages of files, which the system takes back when it needs them. The shards are
deleted in the end, unless --shards names a folder for them.
"""

import argparse
import multiprocessing
import re
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from training_speed import FEATURES, REGIONS, MeasuredError, random_caption

from pipeline.shards.records import ImageRegions
from pipeline.shards.writer import write_shard
from resg.jobs import train_run
from resg.presets import load_settings

SHARD = 1000
VALIDATION = 100
FINGERPRINT = {"model": "random numbers"}


class PeakMemory(threading.Thread):
    """Watches this process: the largest `RssAnon` and `RssFile` seen, in bytes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = {"RssAnon": 0, "RssFile": 0}
        self.is_done = threading.Event()

    def run(self) -> None:
        """Look fifty times a second."""
        while not self.is_done.wait(0.02):
            self.look()

    def look(self) -> None:
        """Take what the kernel says now."""
        status = Path("/proc/self/status").read_text(encoding="ascii")
        for name, kilobytes in re.findall(r"^(RssAnon|RssFile):\s+(\d+) kB", status, re.M):
            self.peak[name] = max(self.peak[name], int(kilobytes) * 1024)


def write_shards(folder: Path, num_images: int, captions_per_image: int) -> None:
    """Region and caption shards of `train`, and a small `val`."""
    random = np.random.default_rng(0)
    features = random.standard_normal((SHARD, REGIONS, FEATURES), dtype=np.float32)
    features = features.astype(np.float16)
    corners = random.uniform((0, 0), (560, 400), (SHARD, REGIONS, 2))
    sides = random.uniform(30, 300, (SHARD, REGIONS, 2))
    boxes = np.concatenate([corners, np.minimum(corners + sides, (640, 480))], -1)
    boxes = boxes.astype(np.float32)

    def images(split: str, numbers: range) -> Iterator[ImageRegions]:
        for number in numbers:
            row = number % SHARD
            yield ImageRegions(f"{split}-{number}", features[row], boxes[row], (480, 640))

    shard = 0
    for split, total in (("train", num_images), ("val", VALIDATION)):
        for start in range(0, total, SHARD):
            numbers = range(start, min(start + SHARD, total))
            captions = [
                replace(
                    random_caption(number * captions_per_image + k, random),
                    image_id=f"{split}-{number}",
                    caption_id=f"{split}-{number}#{k}",
                )
                for number in numbers
                for k in range(captions_per_image)
            ]
            settings: dict[str, Any] = {"settings": {}, "fingerprint": FINGERPRINT, "split": split}
            write_shard(
                folder / f"regions-{shard:05d}.h5", "regions", images(split, numbers), **settings
            )
            write_shard(folder / f"captions-{shard:05d}.h5", "captions", captions, **settings)
            shard += 1


def measure(shards: Path, arguments: argparse.Namespace) -> None:
    """Train some steps and print what it took."""
    changes = (f"train.cache={arguments.cache}", f"model.width={arguments.width}")
    settings = load_settings("resg-gru", (*changes, f"train.batch_size={arguments.batch}"))
    size = sum(path.stat().st_size for path in shards.glob("regions-*.h5"))
    print(f"regions of {size / 1e9:.2f} GB, cache {arguments.cache}", flush=True)
    times: list[float] = []

    def stop(event: Mapping[str, Any]) -> None:
        times.append(time.perf_counter())
        if len(times) > arguments.steps:
            raise MeasuredError

    memory = PeakMemory()
    memory.look()
    at_start = memory.peak["RssAnon"]
    memory.start()
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as out, suppress(MeasuredError):
        train_run(shards, Path(out), settings, torch.device("cpu"), stop)
    memory.is_done.set()
    memory.join()
    seconds = (times[-1] - times[0]) / (len(times) - 1)
    print(
        f"peak of anonymous memory {memory.peak['RssAnon'] / 1e9:.2f} GB "
        f"({at_start / 1e9:.2f} before), of pages of files {memory.peak['RssFile'] / 1e9:.2f} GB; "
        f"{times[0] - begun:.1f} s to the first step, then {seconds:.2f} s a step of "
        f"{arguments.batch} pairs",
        flush=True,
    )


def main() -> None:
    """Write the shards where there are none, then measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=31_014)
    parser.add_argument("--captions", type=int, default=5, help="captions an image")
    parser.add_argument("--cache", default="map", choices=("map", "ram"))
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--shards", type=Path, help="keep the shards here, or use those here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        shards = arguments.shards or Path(folder)
        if not list(shards.glob("captions-*.json")):
            # another process, so that its memory does not count
            job = (shards, arguments.images, arguments.captions)
            writer = multiprocessing.get_context("spawn").Process(target=write_shards, args=job)
            writer.start()
            writer.join()
            if writer.exitcode:
                raise SystemExit("the shards could not be written.")
        measure(shards, arguments)


if __name__ == "__main__":
    main()
