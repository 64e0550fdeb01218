"""How fast does a GPU extract regions with the attribute detector, from JPEG to shard?

Random weights, as the speed does not depend on them; class scores are made as sharp as a trained
detector's, as selection looks at the highest alone. TF32 and half precision are compared with the
network as detectron2 has it in fp32, whose blocks are not fused. Beside them detectron2's own
DefaultPredictor runs the same network, one picture at a time. Needs detectron2 and a GPU.

python benchmarks/attribute_detector.py                       # about a minute on an H200
python benchmarks/attribute_detector.py --precision tf32 --images 2000
"""

import argparse
import faulthandler
import statistics
import subprocess
import tempfile
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from pipeline.detectors.specification import open_detector
from pipeline.detectors.stage import RegionStage
from pipeline.execution import ExecutionSettings, run_stage
from pipeline.images import load_image
from pipeline.manifests.picture_folder import folder_images
from pipeline.shards.writer import write_shard

ALLOWED = 60.0
SAME_BOX = 0.99
WORKERS = ExecutionSettings.model_validate({"workers": 1, "progress": False})
BEGUN = time.perf_counter()


def main():
    parser = argparse.ArgumentParser(description="Speed of the attribute detector on a GPU")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--peer-images", type=int, default=48)
    parser.add_argument("--compared", type=int, default=32, help="images whose parity is told")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--precision", choices=["tf32", "half"], action="append")
    parser.add_argument("--small", action="store_true", help="a narrow network, to try this script")
    settings = parser.parse_args()
    warnings.simplefilter("ignore")
    faulthandler.dump_traceback_later(40, repeat=True)  # says where, should it hang
    say(f"{machine(settings.device)}; batches of {settings.batch}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        weights = folder / "random.safetensors"
        save_file(random_weights(settings.small), weights)
        draw_pictures(folder / "pictures", settings.images)
        items = folder_images(folder / "pictures")
        compared = [load_image(item.path) for item in items[: settings.compared]]
        stages, found = {}, {}
        for precision in settings.precision or ["tf32", "half"]:
            stage = stages[precision] = RegionStage.create(
                f"vg-attributes:{weights}",
                regions="36",
                device=settings.device,
                batch=settings.batch,
                half=precision == "half" and settings.device == "cuda",
            )
            detector = stage._open(1)
            say(f"{precision}: opened")
            found[precision] = in_batches(detector, compared, settings.batch)
            say(f"{precision}: first {len(compared)} pictures, cuDNN has chosen its kernels")
            timed(stage, items, folder / precision, precision)
        for precision, stage in stages.items():
            parts = apart(stage, items[:64], folder / f"{precision}-apart")
            say(f"{precision}: one thread, one after the other, ms a picture: {parts}")
        peer(weights, items[: settings.peer_images], settings.device)
        torch.backends.cudnn.allow_tf32 = False
        exact = as_detectron2_has_it(weights, settings.device)
        reference = in_batches(exact, compared, settings.batch)
        for precision, regions in found.items():
            say(f"{precision} against fp32: {parity(reference, regions)}")
        torch.backends.cudnn.allow_tf32 = True
        for precision, stage in stages.items():
            if settings.device == "cuda":
                say(f"{precision}: {profile(stage, items[:64])}")


def say(text):
    print(f"[{time.perf_counter() - BEGUN:5.1f} s] {text}", flush=True)


def in_batches(detector, pictures, batch):
    starts = range(0, len(pictures), batch)
    return [found for k in starts for found in detector.detect(pictures[k : k + batch])]


def as_detectron2_has_it(weights, device):
    """The detector without what makes it fast on a GPU: blocks in parts, channels first."""
    detector = open_detector(f"vg-attributes:{weights}", regions="36")
    network: Any = detector.network
    network.heads.to(device)
    network.device = torch.device(device)
    return detector


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
    say(
        f"{precision}: {len(items)} pictures from JPEG to shard in {seconds:.1f} s: "
        f"{rate:.1f} images/s (at least {ALLOWED:g}), GPU busy {load.share:.0%} of the time by "
        "nvidia-smi"
    )


def apart(stage, items, out):
    """Milliseconds a picture of each part alone."""
    detector = stage._open(1)
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
    return ", ".join(f"{n} {t:.2f}" for n, t in zip(names, times, strict=True))


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
        for event in seen.events() or ()
        if event.device_type.name == "CUDA"
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
        total += len(one.boxes)
        for box, feature in zip(one.boxes, one.features, strict=True):
            near = np.flatnonzero(iou(box, two.boxes) > SAME_BOX)
            if len(near):
                same += 1
                distance = np.linalg.norm(two.features[near] - feature, axis=1).min()
                errors.append(float(distance / np.linalg.norm(feature)))
    return (
        f"{same / total:.2%} of {total} boxes the same (IoU over {SAME_BOX}); their features "
        f"differ by {statistics.median(errors):.1e} relative, at most {max(errors):.1e}"
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

    from pipeline.detectors.detectron2.visual_genome import visual_genome_config

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
    say(
        f"detectron2's DefaultPredictor, TF32, one picture at a time, nothing written: "
        f"{len(items) / seconds:.1f} images/s, GPU busy {load.share:.0%} of the time"
    )


def random_weights(is_small=False):
    """A ResNet-101 C4 attribute detector whose activations keep their size."""
    from pipeline.detectors.detectron2 import network, visual_genome
    from pipeline.detectors.detectron2.configuration import named_config, require_detectron2

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
    weights = network.build_model(config).state_dict()
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
            try:
                came = subprocess.run(query, capture_output=True, text=True, check=True, timeout=5)
            except (OSError, subprocess.SubprocessError):
                return  # nothing is told of the load
            self.samples.append(float(came.stdout.split()[0]))


if __name__ == "__main__":
    main()
