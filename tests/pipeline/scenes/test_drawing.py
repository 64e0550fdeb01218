"""What a picture shows of a scene."""

from dataclasses import replace

import numpy as np
from PIL import Image

from pipeline.scenes.drawing import COLOURS, draw, visible_pixels
from pipeline.scenes.scene import IMAGE_SIZE, Scene


def box_of(pixels):
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


def painted(scene, number, colour):
    item = scene.objects[number]
    other = replace(item, kind=replace(item.kind, colour=colour, texture="plain"))
    return Scene((*scene.objects[:number], other, *scene.objects[number + 1 :]), scene.background)


def test_visible_pixels_are_those_that_change_with_the_object(captioned_twins):
    for twins, _ in captioned_twins[:25]:
        scene = twins.scenes[0]
        for number, shown in enumerate(visible_pixels(scene)):
            dark, light = (
                draw(painted(scene, number, "black")),
                draw(painted(scene, number, "yellow")),
            )
            change = np.abs(dark.astype(int) - light.astype(int)).max(axis=2)
            assert (change[shown] > 30).all()
            # a sharp tip fades: its last pixels are covered by less than half
            assert change[~_grown(shown)].max() < 60
            assert np.abs(box_of(change > 0) - box_of(shown)).max() <= 3
            assert np.abs(box_of(change > 30) - box_of(shown)).max() <= 2


def _grown(pixels):
    """One pixel farther: a border pixel may be covered by less than half."""
    padded = np.pad(pixels, 1)
    return np.logical_or.reduce(
        [padded[y : y + IMAGE_SIZE, x : x + IMAGE_SIZE] for y in range(3) for x in range(3)]
    )


def test_annotated_boxes_are_tight_to_the_visible_pixels(captioned_twins, scenes):
    from pipeline.scenes.annotations import pair_record

    for twins, captions in captioned_twins[:25]:
        record = pair_record(0, "train", twins, captions)
        for scene, image in zip(twins.scenes, record.images, strict=True):
            drawn = {(*box_of(shown), shown.sum()) for shown in visible_pixels(scene)}
            boxes = [(*instance.box, instance.area) for instance in image.instances]
            assert {(x, y, x + w, y + h, area) for x, y, w, h, area in boxes} == drawn


def test_object_has_its_colour_where_the_annotation_says(scenes):
    names = list(COLOURS)
    hues = np.array([COLOURS[name] for name in names], dtype=float)
    hues /= np.linalg.norm(hues, axis=1, keepdims=True)
    right = []
    for annotation in scenes.instances["annotations"]:
        if "plain" not in annotation["attributes"] or annotation["visible"] < 1:
            continue
        file_name = scenes.image_ids[annotation["image_id"]]["file_name"]
        picture = np.asarray(Image.open(scenes.path / "images" / file_name), dtype=float)
        x, y, width, height = annotation["bbox"]
        box = picture[y : y + height, x : x + width].reshape(-1, 3)
        own = np.array(COLOURS[annotation["attributes"][2]], dtype=float)
        nearest = box[np.argmin(np.abs(box - own).sum(axis=1))]
        found = names[int((hues @ (nearest / np.linalg.norm(nearest))).argmax())]
        right.append(found == annotation["attributes"][2])
    assert len(right) > 50
    assert np.mean(right) > 0.95


def test_shadow_does_not_count_as_the_object(captioned_twins):
    scene = captioned_twins[0][0].scenes[0]
    item = scene.objects[0]
    shown = visible_pixels(Scene((item,), 0))[0]
    assert (box_of(shown) == [item.extent.left, item.extent.top,
                              item.extent.right, item.extent.bottom]).all()  # fmt: skip
