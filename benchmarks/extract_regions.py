"""What does the stage add to a bare ONNX Runtime loop over the same decoded pictures?

python benchmarks/extract_regions.py --images 400     # two threads, the embedded detector
"""

import argparse
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from pipeline.detectors.onnx import INPUT, OnnxNetwork
from pipeline.detectors.specification import open_detector
from pipeline.detectors.stage import RegionStage
from pipeline.execution import ExecutionSettings, run_stage
from pipeline.images import load_image
from pipeline.manifests.manifest import load_manifest
from pipeline.scenes.dataset import make_scenes

ALLOWED = 0.9


def main():
    parser = argparse.ArgumentParser(description="The stage against a bare loop")
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=4)
    settings = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_scenes(folder / "scenes", num_images=settings.images, seed=13)
        items = load_manifest(folder / "scenes" / "scenes.yaml").images(folder / "scenes")
        ratios, by_wall = [], []
        for round_number in range(settings.rounds):  # by turns, as the machine's load changes
            out = folder / f"shards{round_number}"
            if round_number % 2:
                staged = stage(items, out, settings.workers)
                bare = bare_loop(items, settings.workers)
            else:
                bare = bare_loop(items, settings.workers)
                staged = stage(items, out, settings.workers)
            ratios.append(bare[1] / staged[1])
            by_wall.append(bare[0] / staged[0])
            print(
                f"round {round_number + 1}: bare loop {len(items) / bare[0]:.1f} images/s "
                f"({bare[1] / len(items) * 1e3:.1f} ms of processor), stage "
                f"{len(items) / staged[0]:.1f} ({staged[1] / len(items) * 1e3:.1f} ms)",
                flush=True,
            )
        print(
            f"stage over bare loop: {np.median(by_wall):.2f} of its images a second, "
            f"{np.median(ratios):.2f} by processor time, at least {ALLOWED}"
        )


def bare_loop(items, workers):
    """Seconds, and seconds of processor, to decode and run the network, nothing kept."""
    network = open_detector("scenes").network
    assert isinstance(network, OnnxNetwork)
    start = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda item: run_one(network.session, item), items))
    return time.perf_counter() - start[0], time.process_time() - start[1]


def run_one(session, item):
    pixels = load_image(item.path)[:, :, ::-1].transpose(2, 0, 1)
    session.run(None, {INPUT: np.ascontiguousarray(pixels, np.float32)})


def stage(items, out, workers):
    """The same for shards on the disk."""
    how = {"workers": workers, "shard_size": 64, "progress": False}
    execution = ExecutionSettings.model_validate(how)
    start = time.perf_counter(), time.process_time()
    run_stage(RegionStage.create("scenes"), items, out, execution)
    return time.perf_counter() - start[0], time.process_time() - start[1]


if __name__ == "__main__":
    main()
