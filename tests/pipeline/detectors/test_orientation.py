"""Boxes lie on their objects whatever EXIF does to the picture."""

import json

import numpy as np
import pytest
from PIL import ExifTags, Image

from pipeline.detectors.instances import read_instances
from pipeline.errors import DataError
from pipeline.images import load_image
from pipeline.manifests.manifest import ImageItem

WIDTH, HEIGHT = 60, 40
BOX = [6, 10, 20, 8]  # of the stored picture


def write_picture(folder, orientation, size=(WIDTH, HEIGHT), name=None):
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    x, y, width, height = BOX
    pixels[y : y + height, x : x + width] = 255
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = folder / (name or f"{orientation}.png")
    Image.fromarray(pixels).save(path, exif=exif)
    return ImageItem(path.name, path, "train")


def write_boxes(folder, items, sizes, boxes=None):
    content = {
        "categories": [{"id": 1, "name": "thing"}],
        "images": [
            {"id": k, "file_name": item.path.name, "width": size[0], "height": size[1]}
            for k, (item, size) in enumerate(zip(items, sizes, strict=True))
        ],
        "annotations": [
            {"id": k, "image_id": k, "category_id": 1, "bbox": box}
            for k, box in enumerate(boxes or [BOX] * len(items))
        ],
    }
    path = folder / "instances.json"
    path.write_text(json.dumps(content))
    return path


def assert_on_the_object(record):
    picture = load_image(record["file_name"])
    assert picture.shape[:2] == (record["height"], record["width"])
    x, y, width, height = record["annotations"][0]["bbox"]
    inside = picture[y : y + height, x : x + width]
    assert (inside == 255).all()
    assert inside.sum() == picture.sum()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_of_stored_pixels_are_turned(orientation, tmp_path):
    # the second one, on its side, tells which pixels the file counts
    items = [write_picture(tmp_path, orientation), write_picture(tmp_path, 6, name="side.png")]
    path = write_boxes(tmp_path, items, [(WIDTH, HEIGHT)] * 2)
    for record in read_instances(path, items).records:
        assert_on_the_object(record)


@pytest.mark.parametrize("orientation", [6, 8])
def test_boxes_of_turned_pixels_stay(orientation, tmp_path):
    item = write_picture(tmp_path, orientation)
    x, y, width, height = BOX
    turned = {6: [HEIGHT - y - height, x, height, width], 8: [y, WIDTH - x - width, height, width]}
    path = write_boxes(tmp_path, [item], [(HEIGHT, WIDTH)], [turned[orientation]])
    (record,) = read_instances(path, [item]).records
    assert record["annotations"][0]["bbox"] == turned[orientation]
    assert_on_the_object(record)


def test_what_no_size_tells_is_said(tmp_path, caplog):
    item = write_picture(tmp_path, 3)
    x, y, width, height = BOX
    turned = [WIDTH - x - width, HEIGHT - y - height, width, height]
    path = write_boxes(tmp_path, [item], [(WIDTH, HEIGHT)], [turned])
    (record,) = read_instances(path, [item]).records
    assert_on_the_object(record)
    assert "EXIF turns 1 pictures upside down" in caplog.text


def test_a_size_that_the_picture_has_neither_way_is_told(tmp_path):
    item = write_picture(tmp_path, 6)
    path = write_boxes(tmp_path, [item], [(30, 20)])
    with pytest.raises(DataError, match=r"6\.png has 30 x 20 pixels, the picture has 60 x 40"):
        read_instances(path, [item])


def test_a_missing_picture_is_told(tmp_path):
    item = write_picture(tmp_path, 1)
    path = write_boxes(tmp_path, [item], [(WIDTH, HEIGHT)])
    item.path.unlink()
    with pytest.raises(DataError, match=r"1\.png cannot be opened"):
        read_instances(path, [item])
