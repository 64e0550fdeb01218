"""A small stage whose records follow from the items alone, and that can be made to misbehave.

It is a module of its own because workers import it by name.
"""

import os
import signal
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.errors import DataError, MissingExtraError
from pipeline.images import load_image
from pipeline.shards.records import Failure, ImageRegions


@dataclass(frozen=True)
class FakeItem:
    image_id: str
    split: str = "train"

    @property
    def id(self):
        return self.image_id

    @property
    def identity(self):
        return (self.image_id, self.split)


def items(count, split="train"):
    return [FakeItem(f"{split}-{i:04d}.jpg", split) for i in range(count)]


def record(image_id):
    """Regions whose number and values follow from the id."""
    rng = np.random.default_rng(zlib.crc32(image_id.encode()))
    count = int(rng.integers(1, 5))
    corners = rng.random((count, 2), np.float32) * 50
    return ImageRegions(
        image_id=image_id,
        features=rng.random((count, 8), np.float32),
        boxes=np.concatenate([corners, corners + 10], axis=1),
        image_size=(100, 120),
        labels=rng.integers(0, 3, count).astype(np.int32),
        scores=rng.random(count, np.float32),
    )


@dataclass(frozen=True)
class FakeStage:
    """Fails where `marks` says so: `<mark>/<image id>` is a file that names the misbehaviour.

    fail    the item is bad
    raise   the stage raises at it
    no-model, no-extra  the stage cannot work at all
    wrong-id  it gives an outcome of another item
    die     its worker is killed, always
    die-once, hang-once  the file is removed before
    """

    seed: int = 0
    seconds: float = 0.0
    weights: str = "a1b2"
    marks: Path | None = field(default=None, compare=False)
    kind = "regions"
    name = "fake-stage"
    dtype = "float16"

    @property
    def settings(self):
        return {"seed": self.seed}

    @property
    def names(self):
        return {"labels": ["circle", "square", "star"]}

    def fingerprint(self):
        return {"weights": self.weights}

    def process(self, items, threads):
        if self.marks is not None:
            (self.marks / f"threads-{threads}").touch()
            device = os.environ.get("CUDA_VISIBLE_DEVICES")
            (self.marks / f"worker-{os.getpid()}-gpu-{device}").touch()
        for item in items:
            time.sleep(self.seconds)
            yield self.outcome(item)

    def outcome(self, item):
        mark = self.marks / item.id if self.marks is not None else None
        what = mark.read_text() if mark is not None and mark.exists() else ""
        if what.endswith("-once"):
            mark.unlink()
        match what:
            case "fail":
                return Failure(item.id, f"the picture {item.id} is damaged")
            case "raise":
                raise ValueError(f"cannot reshape {item.id}")
            case "no-model":
                raise DataError("the weights w.onnx are missing. Name others with --weights.")
            case "no-extra":
                raise MissingExtraError("detectron2", "detectron2")
            case "wrong-id":
                return record("another.jpg")
            case "die" | "die-once":
                time.sleep(0.5)  # or the shard before is not reported yet, and blamed as well
                os.kill(os.getpid(), signal.SIGKILL)
            case "hang-once":
                time.sleep(600)
        return record(item.id)


@dataclass(frozen=True)
class MeanColourStage:
    """One region an image: the whole picture, its mean colour as feature.

    The limit is no setting: it decides what fails, and changes nothing about the rest.
    """

    max_megapixels: float = 80.0
    kind = "regions"
    name = "mean-colour"
    dtype = "float32"
    names = None

    @property
    def settings(self):
        return {}

    def fingerprint(self):
        return {}

    def process(self, items, threads):
        for item in items:
            try:
                pixels = load_image(item.path, max_megapixels=self.max_megapixels)
            except DataError as error:
                yield Failure(item.id, str(error))
                continue
            height, width = pixels.shape[:2]
            yield ImageRegions(
                image_id=item.id,
                features=pixels.mean(axis=(0, 1), dtype=np.float64)[None].astype(np.float32),
                boxes=np.array([[0, 0, width, height]], np.float32),
                image_size=(height, width),
            )
