"""Do detectron2 and ONNX Runtime keep the same regions, and do batches change them?

Needs detectron2. Photographs and checkpoint are those beside the repository, in ../shared.

python benchmarks/region_parity.py                      # the 48 photographs in their own size
python benchmarks/region_parity.py --photos photos_224  # the 600 small ones
"""

import argparse
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

from pipeline.detectors.base import RegionDetector
from pipeline.detectors.specification import DetectorSpec
from pipeline.images import load_image

SHARED = Path(__file__).parents[2] / "shared"
SAME_BOX = 0.99
ALLOWED = {"same boxes": 0.995, "features": 1e-2, "batches": 1e-3}


def main():
    parser = argparse.ArgumentParser(description="Parity of the backends")
    parser.add_argument("--photos", default="photos_fullres")
    parser.add_argument("--regions", default="36")
    parser.add_argument("--skip", type=int, default=0, help="photographs to leave out first")
    parser.add_argument("--limit", type=int, help="photographs to take")
    parser.add_argument("--onnx", type=Path, help="keep the exported file here")
    settings = parser.parse_args()
    warnings.simplefilter("ignore")
    folder = SHARED / "models" / "realphoto_frcnn"
    spec = DetectorSpec.parse(f"detectron2:{folder / 'config.yaml'},{folder / 'model.pth'}")
    paths = sorted((SHARED / "data" / settings.photos / "images").iterdir())[settings.skip :]
    paths = paths[: settings.limit]
    with tempfile.TemporaryDirectory() as temporary:
        exported = settings.onnx or Path(temporary) / "detector.onnx"
        ours = spec.open()
        from pipeline.detectors.exporting import export_network
        from pipeline.detectors.torch_backend import TorchNetwork

        assert isinstance(ours, TorchNetwork)
        export_network(ours.module, ours.info, exported)
        theirs = DetectorSpec("onnx", weights=str(exported)).open()
        selection = ours.info.selection.selection(settings.regions)
        compare(RegionDetector(ours, selection, {}), RegionDetector(theirs, selection, {}), paths)


def compare(ours, theirs, paths):
    same, total, worst, batch_worst, seconds = 0, 0, 0.0, 0.0, [0.0, 0.0]
    pictures = [load_image(path) for path in paths]
    single = []
    for picture in pictures:
        start = time.perf_counter()
        single += ours.detect([picture])
        middle = time.perf_counter()
        (other,) = theirs.detect([picture])
        seconds[0] += middle - start
        seconds[1] += time.perf_counter() - middle
        equal, error = agreement(single[-1], other)
        same, total, worst = same + equal, total + len(other.boxes), max(worst, error)
    for start in range(0, len(pictures), 8):
        for one, eight in zip(
            single[start : start + 8], ours.detect(pictures[start : start + 8]), strict=True
        ):
            _, error = agreement(one, eight)
            batch_worst = max(batch_worst, error)
    print(f"{len(paths)} photographs, {total} regions")
    print(f"same boxes (IoU over {SAME_BOX}): {same / total:.4f}, at least {ALLOWED['same boxes']}")
    print(f"features, largest relative difference: {worst:.1e}, at most {ALLOWED['features']}")
    print(f"batch 1 and 8: {batch_worst:.1e}, at most {ALLOWED['batches']}")
    print(f"seconds a photograph: detectron2 {seconds[0] / len(paths):.3f}, "
          f"ONNX Runtime {seconds[1] / len(paths):.3f}")  # fmt: skip


def agreement(one, two):
    """How many boxes of `one` are in `two`, and the worst relative difference of their features."""
    equal, worst = 0, 0.0
    for box, feature in zip(one.boxes, one.features, strict=True):
        overlap = iou(box, two.boxes)
        # of boxes that are the same, as class suppression may keep one twice, the nearest feature
        near = np.flatnonzero(overlap > SAME_BOX)
        if len(near):
            equal += 1
            error = np.linalg.norm(two.features[near] - feature, axis=1).min()
            worst = max(worst, float(error / np.linalg.norm(feature)))
    return equal, worst


def iou(box, boxes):
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.clip(high - low, 0, None).prod(1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1) + (box[2:] - box[:2]).prod()
    return shared / np.maximum(areas - shared, 1e-9)


if __name__ == "__main__":
    main()
