"""COCO's measures of a detector on photographs with true boxes. Needs pycocotools."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.detectors.base import DetectedRegions, RegionDetector
from pipeline.errors import MissingExtraError
from pipeline.images import load_image

MOST_REGIONS = 100


def evaluate_detector(detector: RegionDetector, images: Path, instances: Path) -> dict[str, float]:
    """AP, AP50, AP75, and AR at 100 regions with classes (`AR`) and without (`AR_boxes`).

    Args:
        detector: its selection should keep 100 regions of an image.
        images: folder of the photographs.
        instances: their boxes in COCO's format.

    Raises:
        MissingExtraError: no pycocotools.
        DataError: a photograph is missing or damaged.
    """
    try:
        from pycocotools.coco import COCO
    except ImportError as error:
        raise MissingExtraError("pycocotools", "torchvision") from error

    content = json.loads(instances.read_text(encoding="utf-8"))
    categories = sorted(content["categories"], key=lambda category: category["id"])
    found = []
    for image in content["images"]:
        (regions,) = detector.detect([load_image(images / image["file_name"])])
        found += _results(regions, image["id"], [category["id"] for category in categories])
    truth: Any = COCO()  # its annotations can only be set from outside
    truth.dataset = _complete(content)
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        measured = _measure(truth, truth.loadRes(found), use_classes=True)
        boxes = _measure(truth, truth.loadRes(found), use_classes=False)
    names = {"AP": 0, "AP50": 1, "AP75": 2, "AR": 8}
    return {name: round(float(measured[k]), 4) for name, k in names.items()} | {
        "AR_boxes": round(float(boxes[8]), 4)
    }


def _results(
    regions: DetectedRegions, image_id: int, category_ids: list[int]
) -> list[dict[str, Any]]:
    corners = regions.boxes[:MOST_REGIONS].astype(float)
    sides = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1)
    return [
        {
            "image_id": image_id,
            "category_id": category_ids[label],
            "bbox": side.tolist(),
            "score": float(score),
        }
        for side, label, score in zip(sides, regions.labels, regions.scores, strict=False)
    ]


def _complete(content: dict[str, Any]) -> dict[str, Any]:
    """With the keys that pycocotools expects of every annotation."""
    annotations = [
        {"iscrowd": 0, "area": a["bbox"][2] * a["bbox"][3], "id": number} | a
        for number, a in enumerate(content["annotations"], 1)
    ]
    return {"info": {}} | content | {"annotations": annotations}


def _measure(truth: Any, found: Any, *, use_classes: bool) -> np.ndarray:
    from pycocotools.cocoeval import COCOeval

    measure = COCOeval(truth, found, "bbox")
    measure.params.useCats = int(use_classes)
    measure.evaluate()
    measure.accumulate()
    measure.summarize()
    return measure.stats
