"""How fast are scenes made, and how often is a caption true of another picture?

python benchmarks/scenes_generation.py            # 2,000 images, as many processes as cores
python benchmarks/scenes_generation.py --images 200 --workers 1
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

from pipeline.scenes.ambiguity import ambiguous_captions
from pipeline.scenes.dataset import make_scenes

LIMIT_S = 60.0
"""Seconds in which 2,000 images should be there on two cores."""


def main():
    parser = argparse.ArgumentParser(description="Time make-scenes, count ambiguous captions.")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=1)
    settings = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "scenes"
        start = time.perf_counter()
        before = os.times()
        report = make_scenes(
            out, num_images=settings.images, seed=settings.seed, workers=settings.workers
        )
        seconds = time.perf_counter() - start
        spent = [now - then for now, then in zip(os.times(), before, strict=True)]
        size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
        print(f"{settings.images} images, {settings.workers} processes: {seconds:.1f} s")
        print(f"processor time {sum(spent[:4]):.1f} s, {settings.images / seconds:.0f} images/s")
        allowed = LIMIT_S * settings.images / 2000
        print(f"share of the time allowed ({allowed:.0f} s): {seconds / allowed:.2f}")
        print(f"{size / settings.images / 1e3:.0f} kB an image, {report.num_hard_pairs} hard pairs")
        for split in ("val", "test"):
            number = 5 * report.images[split]
            found = ambiguous_captions(out, split)
            share = len(found) / number
            print(f"captions of {split} true of another image: {len(found)}/{number} ({share:.1%})")


if __name__ == "__main__":
    main()
