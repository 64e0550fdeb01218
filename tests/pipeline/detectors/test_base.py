from dataclasses import dataclass, field

import numpy as np
import pytest

from pipeline.detectors.base import Candidates, DetectorInfo, RegionDetector
from pipeline.detectors.resizing import ResizePolicy
from pipeline.detectors.selection import Selection
from pipeline.errors import SettingsError

INFO = DetectorInfo(
    classes=("cat", "dog"),
    attributes=("large", "small", "red", "green", "blue"),
    attribute_groups=("size", "size", "colour", "colour", "colour"),
    feature_width=3,
    resize=ResizePolicy(short_side=10, max_side=40),
    pixel_mean=(0, 0, 0),
    pixel_std=(1, 1, 1),
)


@dataclass
class PaintedNetwork:
    """Proposes the two halves of a picture; their features are their mean colours."""

    info: DetectorInfo = INFO
    shapes: list = field(default_factory=list)

    def start(self, pictures_B3HW):
        self.shapes.append(pictures_B3HW.shape)
        found = [self._of(picture.transpose(1, 2, 0)) for picture in pictures_B3HW]
        return lambda: found

    def _of(self, picture):
        height, width = picture.shape[:2]
        middle = width // 2
        halves = picture[:, :middle], picture[:, middle:]
        boxes = [[0, 0, middle, height], [middle, 0, width, height]]
        attributes = [[0.9, 0.1, 0.2, 0.7, 0.1], [0.3, 0.7, 0.1, 0.1, 0.8]]
        return Candidates(
            np.array(boxes, np.float32),
            np.array([[0.1, 0.8], [0.05, 0.02]], np.float32),
            np.stack([half.reshape(-1, 3).mean(0) for half in halves]),
            np.array(attributes, np.float32),
        )


def detector(network=None, **selection):
    return RegionDetector(
        network or PaintedNetwork(), Selection(**{"min_regions": 1} | selection), {}
    )


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_pictures_of_one_size_go_together_and_keep_their_places():
    network = PaintedNetwork()
    pictures = [picture(10, 20, 1), picture(10, 30, 2), picture(10, 20, 3)]
    found = detector(network).detect(pictures)
    assert sorted(network.shapes) == [(1, 3, 10, 30), (2, 3, 10, 20)]
    for regions, original in zip(found, pictures, strict=True):
        half = original[:, : original.shape[1] // 2, ::-1]
        assert np.allclose(regions.features[0], half.reshape(-1, 3).mean(0))


def test_neighbours_in_a_batch_change_nothing():
    pictures = [picture(13, 20, 1), picture(33, 47, 2), picture(13, 20, 3)]
    together = detector().detect(pictures)
    for one, original in zip(together, pictures, strict=True):
        (alone,) = detector().detect([original])
        assert np.array_equal(one.features, alone.features)
        assert np.array_equal(one.boxes, alone.boxes)


def test_boxes_are_in_pixels_of_the_original_picture():
    (found,) = detector().detect([picture(20, 40)])
    assert found.boxes.tolist() == [[0, 0, 20, 20]]
    assert found.image_size == (20, 40)


def test_what_fills_up_to_the_minimum_is_counted():
    (found,) = detector(min_regions=2).detect([picture(10, 20)])
    assert len(found.boxes) == 2
    assert found.num_filled == 1


def test_a_shard_gets_the_best_class_and_the_best_attribute_of_the_largest_group():
    (found,) = detector(min_regions=2).detect([picture(10, 20)])
    record = found.record("a.png", INFO)
    assert record.labels.tolist() == [1, 0]
    assert np.allclose(record.scores, [0.8, 0.05])
    assert [INFO.attributes[k] for k in record.attributes] == ["green", "blue"]
    assert np.allclose(record.attribute_scores, [0.7, 0.8])


def test_without_groups_all_attributes_compete():
    info = INFO.model_copy(update={"attribute_groups": ()})
    (found,) = detector(min_regions=2).detect([picture(10, 20)])
    assert found.record("a", info).attributes.tolist() == [0, 4]


def test_counts_that_a_user_gives_replace_the_detectors():
    assert INFO.selection.selection("36").max_regions == 36
    assert INFO.selection.selection("4:9").min_regions == 4
    assert INFO.selection.selection().max_regions == 100
    with pytest.raises(SettingsError, match="36"):
        INFO.selection.selection("many")
