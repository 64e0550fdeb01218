"""How fast does a GPU extract regions with the attribute detector, from JPEG to shard?

Random weights, as the speed does not depend on them; class scores are made as sharp as a trained
detector's, as selection looks at the highest alone. Beside it detectron2's own DefaultPredictor
runs the same network, one picture at a time. Needs detectron2 and a GPU.

python benchmarks/attribute_detector.py                       # fp32, TF32 and half precision
python benchmarks/attribute_detector.py --precision tf32 --images 2000
"""

import argparse
import statistics
import subprocess
import tempfile
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from pipeline.detectors.base import RegionDetector
from pipeline.detectors.stage import RegionStage
from pipeline.execution import ExecutionSettings, run_stage
from pipeline.images import load_image
from pipeline.manifest import folder_images
from pipeline.shards.records import ImageRegions
from pipeline.shards.writer import write_shard

ALLOWED = 60.0
SAME_BOX = 0.99
WORKERS = ExecutionSettings.model_validate({"workers": 1, "progress": False})


def main():
    parser = argparse.ArgumentParser(description="Speed of the attribute detector on a GPU")
    parser.add_argument("--images", type=int, default=768)
    parser.add_argument("--slow-images", type=int, default=96, help="of fp32 and of the peer")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--precision", choices=["fp32", "tf32", "half"], action="append")
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--small", action="store_true", help="a narrow network, to try this script")
    settings = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        weights = folder / "random.safetensors"
        save_file(random_weights(settings.small), weights)
        draw_pictures(folder / "pictures", settings.images)
        items = folder_images(folder / "pictures")
        print(f"{machine(settings.device)}; batches of {settings.batch}", flush=True)
        reference = None
        for precision in settings.precision or ["fp32", "tf32", "half"]:
            torch.backends.cudnn.allow_tf32 = precision == "tf32"
            stage = RegionStage.create(
                f"vg-attributes:{weights}",
                regions="36",
                device=settings.device,
                batch=settings.batch,
                half=precision == "half" and settings.device == "cuda",
            )
            some = items[: settings.slow_images] if precision == "fp32" else items
            found = list(stage.process(items[:32], 1))  # and cuDNN chooses its kernels
            timed(stage, some, folder / precision, precision)
            if precision == "fp32":
                reference = found
            else:
                apart(stage, items[:64], folder / "apart")
                if reference:
                    print(f"  {parity(reference, found)}", flush=True)
        torch.backends.cudnn.allow_tf32 = True
        if not settings.no_peer:
            peer(weights, items[: settings.slow_images], settings.device)


def machine(device):
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    return f"{name}, torch {torch.__version__}"


def timed(stage, items, out, precision):
    """From JPEG to shard; prints the rate and how busy the GPU was."""
    with GpuLoad(stage.device) as load:
        start = time.perf_counter()
        run_stage(stage, items, out, WORKERS)
        seconds = time.perf_counter() - start
    rate = len(items) / seconds
    print(
        f"{precision}: {len(items)} pictures in {seconds:.1f} s: {rate:.1f} images/s "
        f"(at least {ALLOWED:g}), GPU busy {load.share:.0%} of the time by nvidia-smi",
        flush=True,
    )


def apart(stage, items, out):
    """Milliseconds a picture of each part alone, and the share of time with a kernel running."""
    (detector,) = (stage._open(1),)
    assert isinstance(detector, RegionDetector)
    start = time.perf_counter()
    pictures = [load_image(item.path) for item in items]
    decoded = time.perf_counter()
    prepared = [detector.prepare(picture) for picture in pictures]
    resized = time.perf_counter()
    batches = [prepared[k : k + stage.batch] for k in range(0, len(prepared), stage.batch)]
    running = [detector.start(batch) for batch in batches]
    if stage.device == "cuda":
        torch.cuda.synchronize()
    computed = time.perf_counter()
    found = [regions for finish in running for regions in finish()]
    selected = time.perf_counter()
    records = [r.record(item.id, detector.info) for r, item in zip(found, items, strict=True)]
    out.mkdir(exist_ok=True)
    write_shard(
        out / "regions-00000.h5",
        "regions",
        iter(records),
        settings={},
        fingerprint={},
        split=None,
        names=stage.names,
    )
    written = time.perf_counter()
    times = np.diff([start, decoded, resized, computed, selected, written]) / len(items) * 1e3
    names = ["decode", "resize", "network", "select", "write"]
    parts = ", ".join(f"{n} {t:.2f}" for n, t in zip(names, times, strict=True))
    print(f"  one thread, one after the other, ms a picture: {parts}")
    if stage.device == "cuda":
        print(f"  {profile(stage, items)}", flush=True)


def profile(stage, items):
    """Share of the wall time in which a kernel runs, by the profiler, and the longest kernels."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    torch.cuda.synchronize()
    with profiler(activities=[ProfilerActivity.CUDA]) as seen:
        start = time.perf_counter()
        list(stage.process(items, 1))
        torch.cuda.synchronize()
        wall = time.perf_counter() - start
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in seen.events()
        if event.device_type == torch.autograd.DeviceType.CUDA
    )
    busy, until = 0.0, 0.0
    for first, last in spans:
        busy += max(0.0, last - max(first, until))
        until = max(until, last)
    averages = sorted(seen.key_averages(), key=lambda e: -e.self_device_time_total)[:8]
    longest = "\n".join(
        f"    {e.self_device_time_total / len(items) / 1e3:6.2f} ms  {e.key[:90]}" for e in averages
    )
    return f"kernels run {busy / 1e6 / wall:.0%} of the time; the longest, a picture:\n{longest}"


def parity(reference, found):
    """How many boxes are those of fp32, and how far their features are."""
    same, total, errors = 0, 0, []
    for one, two in zip(reference, found, strict=True):
        if not (isinstance(one, ImageRegions) and isinstance(two, ImageRegions)):
            raise SystemExit(f"no regions: {one}, {two}")
        total += len(one.boxes)
        for box, feature in zip(one.boxes, one.features, strict=True):
            near = np.flatnonzero(iou(box, two.boxes) > SAME_BOX)
            if len(near):
                same += 1
                distance = np.linalg.norm(two.features[near] - feature, axis=1).min()
                errors.append(float(distance / np.linalg.norm(feature)))
    return (
        f"against fp32: {same / total:.2%} of {total} boxes the same (IoU over {SAME_BOX}); their "
        f"features differ by {statistics.median(errors):.1e} relative, at most {max(errors):.1e}"
    )


def iou(box, boxes):
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.clip(high - low, 0, None).prod(1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1) + (box[2:] - box[:2]).prod()
    return shared / np.maximum(areas - shared, 1e-9)


def peer(weights, items, device):
    """detectron2's DefaultPredictor with the same network; it keeps boxes and no features."""
    from detectron2.data.detection_utils import read_image
    from detectron2.engine import DefaultPredictor

    from pipeline.detectors.visual_genome import visual_genome_config

    values = load_file(weights)
    config = visual_genome_config(values, weights.parent)
    file = weights.with_suffix(".pth")
    torch.save({"model": values}, file)
    config.MODEL.WEIGHTS, config.MODEL.DEVICE = str(file), device
    config.DATASETS.TEST = ()
    predictor = DefaultPredictor(config)
    for item in items[:8]:
        predictor(read_image(item.path, "BGR"))
    with GpuLoad(device) as load:
        start = time.perf_counter()
        for item in items:
            predictor(read_image(item.path, "BGR"))["instances"].to("cpu")
        seconds = time.perf_counter() - start
    print(
        f"detectron2's DefaultPredictor, TF32, one picture at a time, nothing written: "
        f"{len(items) / seconds:.1f} images/s, GPU busy {load.share:.0%} of the time",
        flush=True,
    )


def random_weights(is_small=False):
    """A ResNet-101 C4 attribute detector whose activations keep their size."""
    from pipeline.detectors import detectron2, visual_genome
    from pipeline.detectors.configuration import named_config, require_detectron2

    require_detectron2()
    config = named_config("r101-c4")
    if is_small:
        resnets = config.MODEL.RESNETS
        resnets.DEPTH, resnets.STEM_OUT_CHANNELS = 50, 8
        resnets.WIDTH_PER_GROUP, resnets.RES2_OUT_CHANNELS = 4, 8
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
    """JPEG files of 500 x 375 as in Flickr30k: patches of colour under fine grain; 50 are drawn."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for k in range(count):
        path = folder / f"{k:05d}.jpg"
        if k >= 50:
            path.write_bytes((folder / f"{k % 50:05d}.jpg").read_bytes())
            continue
        patches = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        pixels = np.asarray(patches.resize((500, 375), Image.Resampling.BICUBIC), np.int16)
        pixels = pixels + random.integers(-12, 13, pixels.shape)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=92)


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
        query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        while self.is_measured and not self.done.wait(0.3):
            came = subprocess.run(query, capture_output=True, text=True, check=True)
            self.samples.append(float(came.stdout.split()[0]))


if __name__ == "__main__":
    main()
