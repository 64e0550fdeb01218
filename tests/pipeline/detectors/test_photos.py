"""The embedded detector of photographs: what it says of itself, and what it sees."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.detectors.specification import DetectorSpec, embedded_file, open_detector
from pipeline.images import load_image

PHOTOGRAPHS = Path(__file__).parents[4] / "shared/data/photos_fullres/images"


@pytest.fixture(scope="module")
def detector():
    return open_detector("photos", regions="36")


def test_it_names_itself_its_domain_and_classes(detector):
    info = detector.info
    assert (info.name, info.domain) == ("photos", "photographs")
    assert len(info.classes) == 80
    assert {"person", "dog", "horse"} <= set(info.classes)
    assert DetectorSpec.parse("photos").fingerprint()["backend"] == "onnx"


def test_it_fits_into_the_package():
    assert embedded_file("photos").stat().st_size < 25e6
    assert (embedded_file("photos").parent / "README.md").is_file()


def test_every_picture_gets_the_regions_that_were_asked_for(detector):
    random = np.random.default_rng(0)
    pictures = [
        random.integers(0, 255, (240, 320, 3), np.uint8),
        np.full((333, 500, 3), 90, np.uint8),
    ]
    for picture, regions in zip(pictures, detector.detect(pictures), strict=True):
        height, width = picture.shape[:2]
        assert regions.features.shape == (36, 2048)
        assert np.isfinite(regions.features).all()
        assert (regions.boxes[:, 2:] > regions.boxes[:, :2]).all()
        assert (regions.boxes <= [width, height, width, height]).all()


@pytest.mark.real_data
@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="no photographs in ../shared")
@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("1689658980_0074d81d28.jpg", "dog"),
        ("1397295388_8a5b6b525d.jpg", "person"),
    ],
)
def test_the_best_region_of_a_photograph_has_the_right_class(detector, name, seen):
    (regions,) = detector.detect([load_image(PHOTOGRAPHS / name)])
    assert detector.info.classes[int(regions.labels[0])] == seen
