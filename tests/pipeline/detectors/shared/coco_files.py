"""A small data set in COCO's format: grey pictures with one coloured rectangle each."""

import gzip
import json

import numpy as np
from PIL import Image

COLOURS = {"red": (220, 30, 30), "blue": (30, 30, 220)}


def make_coco(folder, *, count=4, width=80, height=60, classes=("red", "blue"), weak=False):
    """Write pictures, `boxes.json` and Karpathy's `captions.json.gz`; the box of each picture.

    Returns:
        Corners in pixels, by file name.
    """
    random = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    images, annotations, captions, corners = [], [], [], {}
    for number in range(count):
        name = f"{number}.png"
        x, y = int(random.integers(4, width // 2)), int(random.integers(4, height // 2))
        w, h = int(random.integers(16, width // 2)), int(random.integers(16, height // 2))
        colour = classes[number % len(classes)]
        pixels = np.full((height, width, 3), 128, np.uint8)
        pixels[y : y + h, x : x + w] = COLOURS[colour]
        Image.fromarray(pixels).save(folder / "images" / name)
        corners[name] = (x, y, x + w, y + h)
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        annotations.append(
            {
                "id": number + 1,
                "image_id": number,
                "category_id": 10 + number % len(classes),
                "bbox": [x, y, w, h],
                "iscrowd": int(weak),
            }
        )
        split = "train" if number else "val"
        sentences = [{"raw": f"A {colour} box in the middle"}]
        captions.append({"filename": name, "split": split, "sentences": sentences})
    categories = [{"id": 10 + k, "name": name} for k, name in enumerate(classes)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "boxes.json").write_text(json.dumps(content))
    packed = gzip.compress(json.dumps({"images": captions}).encode())
    (folder / "captions.json.gz").write_bytes(packed)
    return corners
