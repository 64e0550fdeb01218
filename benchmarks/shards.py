"""Reading shards, side by side with a bare memory map and with compressed npz files.

    python benchmarks/shards.py

Items are 36x2048 float16 with boxes, labels and scores. Prints three claims with their ratios and
exits 1 if one does not hold: random items at least at 0.8 of the speed of a bare numpy memory map
of the same file, at least at 20 times that of the per-image `.npz` that MILVLG's extractor writes,
and 10,000 shards opened in under 10 s. Files are in the page cache, so the disk is not measured.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.shards.reader import ShardReader
from pipeline.shards.records import ImageRegions
from pipeline.shards.sidecar import shard_path, sidecar_path
from pipeline.shards.writer import write_shard

REGIONS, WIDTH = 36, 2048
NAMES = {  # as many as the Visual Genome detector has, as each sidecar repeats them
    "labels": [f"object {k}" for k in range(1600)],
    "attributes": [f"attribute {k}" for k in range(400)],
}
MADE_BY: dict[str, Any] = {"settings": {"boxes": REGIONS}, "fingerprint": {"detector": "bench"}}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Benchmark the reading of shards.")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--npz-images", type=int, default=200)
    parser.add_argument("--shards", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        held = [
            *read_items(Path(folder), options.images, options.npz_images, options.rounds),
            open_shards(Path(folder) / "many", options.shards),
        ]
    return 0 if all(held) else 1


def read_items(folder: Path, num_images: int, num_npz: int, rounds: int) -> list[bool]:
    reader = ShardReader(write_items(folder / "items", num_images), "regions")
    bare = np.memmap(
        folder / "items" / reader.sidecars[0].file,
        np.float16,
        "r",
        offset=reader.sidecars[0].datasets["features"].offset or 0,
        shape=(num_images * REGIONS, WIDTH),
    )
    files = write_npz(folder / "npz", reader, num_npz)

    def from_bare(i: int) -> np.ndarray:
        return np.array(bare[i * REGIONS : (i + 1) * REGIONS])

    def from_features(i: int) -> np.ndarray:
        return np.array(reader.features(i))

    def from_record(i: int) -> np.ndarray:
        image: Any = reader[i]
        return np.array(image.features)  # boxes, labels and scores come with it

    def from_npz(i: int) -> np.ndarray:
        with np.load(files[i % num_npz]) as file:
            return file["x"]

    order = np.random.default_rng(0).integers(0, num_images, 4 * num_images).tolist()
    for i in (0, 5, num_npz - 1):
        assert np.array_equal(from_bare(i), from_features(i))
        assert np.array_equal(from_bare(i), from_record(i))
        assert np.array_equal(from_bare(i), from_npz(i).astype(np.float16))
    speeds = {
        "bare": [], "features": [], "record": [], "npz": []
    }  # fmt: skip
    for _ in range(rounds):
        speeds["bare"].append(items_a_second(from_bare, order))
        speeds["features"].append(items_a_second(from_features, order))
        speeds["record"].append(items_a_second(from_record, order))
        speeds["npz"].append(items_a_second(from_npz, order[: num_npz // 2]))
    for name, text in [
        ("bare", "numpy memory map, features alone"),
        ("features", "reader.features(i)"),
        ("record", "reader[i], boxes, labels and scores with it"),
        ("npz", "npz, compressed, features alone"),
    ]:
        print(f"{statistics.median(speeds[name]):10,.0f} items/s  {text}")
    return [
        claim("reader.features(i) / memory map", ratio(speeds, "features", "bare"), 0.8),
        claim("reader[i] / memory map", ratio(speeds, "record", "bare"), 0.8),
        claim("reader[i] / npz", ratio(speeds, "record", "npz"), 20),
    ]


def open_shards(folder: Path, num_shards: int) -> bool:
    """One shard under many names, as its bytes do not matter for opening."""
    write_items(folder, 4)
    first = shard_path(folder, "regions", 0)
    text = sidecar_path(first).read_text()
    for number in range(1, num_shards):
        shard = shard_path(folder, "regions", number)
        os.link(first, shard)
        sidecar_path(shard).write_text(text.replace(first.name, shard.name))
    start = time.perf_counter()
    reader = ShardReader(folder, "regions")
    seconds = time.perf_counter() - start
    assert len(reader) == 4 * num_shards
    start = time.perf_counter()
    for i in range(0, len(reader), 4):
        reader.features(i)
    mapping = time.perf_counter() - start
    holds = seconds < 10
    print(
        f"{num_shards:,} shards opened in {seconds:.1f} s (must be < 10): "
        f"{'holds' if holds else 'FAILS'}; one item of each read in {mapping:.1f} s more"
    )
    return holds


def write_items(folder: Path, num_images: int) -> Path:
    shard = shard_path(folder, "regions", 0)
    write_shard(shard, "regions", items(num_images), split="train", names=NAMES, **MADE_BY)
    return folder


def items(num_images: int) -> Iterable[ImageRegions]:
    random = np.random.default_rng(0)
    for k in range(num_images):
        corner = random.uniform(0, 300, (REGIONS, 2))
        yield ImageRegions(
            image_id=f"{k:012d}",
            # Pooled after a ReLU, as a detector's features are; half of them 0 suits compression.
            features=np.maximum(random.standard_normal((REGIONS, WIDTH), np.float32), 0),
            boxes=np.concatenate([corner, corner + 50], axis=1).astype(np.float32),
            image_size=(400, 500),
            labels=random.integers(0, 1600, REGIONS),
            scores=random.uniform(size=REGIONS).astype(np.float32),
        )


def write_npz(folder: Path, reader: ShardReader, num_images: int) -> list[Path]:
    """Files with the arrays that MILVLG's bottom-up-attention.pytorch saves, float32 as there."""
    folder.mkdir()
    paths = []
    for i in range(num_images):
        image: Any = reader[i]
        paths.append(folder / f"{image.image_id}.npz")
        height, width = image.image_size
        np.savez_compressed(
            paths[-1],
            x=image.features.astype(np.float32),
            bbox=image.boxes,
            num_bbox=len(image.boxes),
            image_h=height,
            image_w=width,
        )
    return paths


def items_a_second(read: Callable[[int], Any], order: Sequence[int]) -> float:
    start = time.perf_counter()
    for i in order:
        read(i)
    return len(order) / (time.perf_counter() - start)


def ratio(speeds: dict[str, list[float]], ours: str, theirs: str) -> float:
    """Median over the rounds, each of which measured both."""
    return statistics.median(a / b for a, b in zip(speeds[ours], speeds[theirs], strict=True))


def claim(what: str, value: float, least: float) -> bool:
    print(f"{what}: {value:.2f} (must be >= {least}): {'holds' if value >= least else 'FAILS'}")
    return value >= least


if __name__ == "__main__":
    sys.exit(main())
