"""How fast does a GPU extract regions with the attribute detector, from JPEG to shard?

Random weights, as the speed does not depend on them; class scores are made as sharp as a trained
detector's, as selection looks at those above a floor. Needs detectron2 and a GPU.

python benchmarks/attribute_detector.py                  # 1,000 pictures of 640 x 480, 36 regions
python benchmarks/attribute_detector.py --half           # half precision, and parity against fp32
"""

import argparse
import tempfile
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from safetensors.torch import save_file

from pipeline.detectors.stage import RegionStage
from pipeline.execution import ExecutionSettings, run_stage
from pipeline.manifest import folder_images
from pipeline.shards.records import ImageRegions

ALLOWED = 60.0


def main():
    parser = argparse.ArgumentParser(description="Speed of the attribute detector on a GPU")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--half", action="store_true")
    settings = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        weights = folder / "random.safetensors"
        save_file(random_weights(), weights)
        draw_pictures(folder / "pictures", settings.images)
        items = folder_images(folder / "pictures")
        made = RegionStage.create(
            f"vg-attributes:{weights}",
            regions="36",
            device=settings.device,
            batch=settings.batch,
            half=settings.half,
        )
        list(made.process(items[: 2 * settings.batch], 1))  # warm
        with GpuLoad(settings.device) as load:
            start = time.perf_counter()
            run_stage(
                made,
                items,
                folder / "out",
                ExecutionSettings.model_validate({"workers": 1, "progress": False}),
            )
            seconds = time.perf_counter() - start
        rate = len(items) / seconds
        print(f"{len(items)} pictures in {seconds:.1f} s: {rate:.1f} images/s, at least {ALLOWED}")
        print(f"GPU busy: {load.share:.0%} of the time")
        if settings.half:
            print(f"half against fp32, features: {parity(made, items[:8]):.1e} relative")


def parity(half, items):
    """Largest relative difference of features of boxes that both keep."""
    full = RegionStage.create(half.detector, regions="36", device=half.device, half=False)
    worst = 0.0
    for one, two in zip(half.process(items, 1), full.process(items, 1), strict=True):
        if not (isinstance(one, ImageRegions) and isinstance(two, ImageRegions)):
            raise SystemExit(f"no regions: {one}, {two}")
        if one.boxes is None or two.boxes is None:
            continue
        for box, feature in zip(one.boxes, one.features, strict=True):
            near = np.abs(two.boxes - box).max(1)
            if near.min() < 0.5:
                other = two.features[near.argmin()]
                worst = max(worst, float(np.linalg.norm(feature - other) / np.linalg.norm(other)))
    return worst


def random_weights():
    """A ResNet-101 C4 attribute detector whose activations keep their size."""
    from pipeline.detectors import detectron2, visual_genome
    from pipeline.detectors.configuration import named_config, require_detectron2

    require_detectron2()
    config = named_config("r101-c4")
    config.MODEL.RPN.CONV_DIMS = [512]
    config.MODEL.ROI_HEADS.NUM_CLASSES = 1600
    config.MODEL.ATTRIBUTES.NAMES = [str(k) for k in range(400)]
    config.MODEL.ANCHOR_GENERATOR.SIZES = [[64, 128, 256, 512]]
    torch.manual_seed(0)
    weights = detectron2.build_model(config).state_dict()
    for name, value in weights.items():
        if name.endswith("conv3.norm.weight"):
            value.fill_(0.2)  # residuals of 30 blocks add up
    weights[visual_genome.PREDICTOR + "cls_score.weight"].normal_(std=0.3)
    return {name: value.contiguous() for name, value in weights.items()}


def draw_pictures(folder, count):
    """JPEG files of coloured noise in patches; 50 different ones."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for k in range(count):
        path = folder / f"{k:05d}.jpg"
        if k >= 50:
            path.write_bytes((folder / f"{k % 50:05d}.jpg").read_bytes())
            continue
        patches = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        patches.resize((640, 480)).filter(ImageFilter.DETAIL).save(path, quality=90)


class GpuLoad:
    """Samples how busy the GPU is while something runs; `share` of the time when it is over."""

    def __init__(self, device):
        self.is_measured = device == "cuda"
        self.samples = []
        self.done = threading.Event()

    def __enter__(self):
        self.thread = threading.Thread(target=self._sample)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()
        self.share = float(np.mean(self.samples)) / 100 if self.samples else float("nan")

    def _sample(self):
        import subprocess

        query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        while self.is_measured and not self.done.wait(0.5):
            came = subprocess.run(query, capture_output=True, text=True, check=True)
            self.samples.append(float(came.stdout.split()[0]))


if __name__ == "__main__":
    main()
