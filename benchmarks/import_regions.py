"""How fast and in how much memory does an LXMERT file become shards, and shards become one?

    python benchmarks/import_regions.py --images 2000 --folder /tmp/benchmark

Beside it: the bare cost of the same file, csv and base64 of each row as LXMERT's own loader decodes
it, nothing written. Each measurement runs in a process of its own, whose peak memory it reports.
"""

import argparse
import base64
import csv
import multiprocessing
import resource
import shutil
import sys
import time
from pathlib import Path

import numpy as np

REGIONS, WIDTH = 36, 2048


def write_file(path, num_images):
    from pipeline.shards.convert import lxmert_tsv
    from pipeline.shards.records import ImageRegions

    rng = np.random.default_rng(0)

    def image(number):
        corners = np.sort(rng.uniform(0, 400, (REGIONS, 2, 2)).astype(np.float32), axis=1)
        return ImageRegions(
            f"COCO_train2014_{number:012}",
            features=rng.standard_exponential((REGIONS, WIDTH), np.float32),
            boxes=corners.reshape(REGIONS, 4),
            image_size=(480, 640),
            labels=rng.integers(0, 1600, REGIONS),
            scores=rng.random(REGIONS, np.float32),
            attributes=rng.integers(0, 400, REGIONS),
            attribute_scores=rng.random(REGIONS, np.float32),
        )

    lxmert_tsv.write((image(number) for number in range(num_images)), path, num_images)


def decode_bare(path):
    """Every row through csv and base64, as LXMERT's loader does, without keeping any."""
    from pipeline.shards.convert.lxmert_tsv import COLUMNS

    csv.field_size_limit(sys.maxsize)
    with path.open(newline="") as stream:
        for row in csv.DictReader(stream, COLUMNS, delimiter="\t"):
            for field in ("objects_id", "objects_conf", "attrs_id", "attrs_conf", "boxes"):
                base64.b64decode(row[field])
            np.frombuffer(base64.b64decode(row["features"]), np.float32).reshape(-1, WIDTH)


def import_file(path, out, dtype, shard_size):
    from pipeline.shards.convert.importing import import_regions

    import_regions(path, out, "lxmert-tsv", dtype=dtype, shard_size=shard_size)


def export_file(shards, path):
    from pipeline.shards.convert.exporting import export_regions

    export_regions(shards, path, "lxmert-tsv")


def _measure(pipe, work, arguments):
    # Imports and numpy alone: what the process needs before it works.
    import pipeline.shards.convert.exporting
    import pipeline.shards.convert.importing  # noqa: F401 - memory, not names

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, start_cpu = time.perf_counter(), time.process_time()
    work(*arguments)
    seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pipe.send((seconds, cpu, before / 1024, peak / 1024))


def measure(work, *arguments):
    """Seconds by the clock and of CPU, MiB before the work and at its peak, in a fresh process."""
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(sending, work, arguments))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{work.__name__} failed")
    return receiving.recv()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--folder", type=Path, default=Path("benchmark"))
    arguments = parser.parse_args()
    folder, num_images = arguments.folder, arguments.images
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    small, large = folder / "small.tsv", folder / "large.tsv"
    write_file(small, num_images // 4)
    write_file(large, num_images)
    megabytes = large.stat().st_size / 1e6
    print(f"{num_images} images of {REGIONS}x{WIDTH}, {megabytes:.0f} MB\n")
    print(f"{'':40} {'MB/s':>6} {'MB per CPU s':>13} {'start MiB':>10} {'peak MiB':>9}")
    speeds = {}
    for name, images, work, work_arguments in (
        ("csv and base64 alone (LXMERT's loader)", num_images, decode_bare, (large,)),
        ("import, float16, 1000 a shard", num_images, import_file,
         (large, folder / "a", "float16", 1000)),
        ("import, float32, 1000 a shard", num_images, import_file,
         (large, folder / "b", "float32", 1000)),
        ("import, float16, 100 a shard", num_images, import_file,
         (large, folder / "c", "float16", 100)),
        ("the same, a quarter of the images", num_images // 4, import_file,
         (small, folder / "d", "float16", 100)),
        ("export of the float32 shards", num_images, export_file,
         (folder / "b", folder / "back.tsv")),
    ):  # fmt: skip
        seconds, cpu, before, peak = measure(work, *work_arguments)
        done = megabytes * images / num_images
        speeds[name] = done / cpu
        print(f"{name:40} {done / seconds:6.0f} {done / cpu:13.0f} {before:10.0f} {peak:9.0f}")
    bare, imported = list(speeds.values())[:2]
    print(f"\nimport / csv and base64 alone, by CPU time: {imported / bare:.2f}")
    same = (folder / "back.tsv").read_bytes() == large.read_bytes()
    print(f"export of the import is byte for byte the file: {same}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
