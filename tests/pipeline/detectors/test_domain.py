"""Generated scenes and other pictures are told apart by their colours."""

import numpy as np
import pytest

from pipeline.detectors.domain import SAMPLE, domain_warning, is_scene, sample_pictures
from pipeline.images import load_image
from pipeline.manifests.picture_folder import folder_images


def test_generated_scenes_are_scenes(scenes):
    assert all(is_scene(load_image(path)) for path in (scenes / "images").iterdir())


def test_a_resized_scene_is_a_scene(scenes):
    picture = load_image(next((scenes / "images").iterdir()))
    assert is_scene(picture[::2, ::2])
    assert is_scene(np.kron(picture, np.ones((2, 2, 1), np.uint8)))


@pytest.mark.parametrize("colour", [(128, 120, 110), (0, 0, 0), (255, 255, 200)])
def test_other_pictures_are_none(colour):
    assert not is_scene(np.full((30, 40, 3), colour, np.uint8))


def test_some_pictures_are_looked_at_and_damaged_ones_passed_over(scenes, tmp_path):
    for number, path in enumerate(sorted((scenes / "images").iterdir())):
        kept = path.read_bytes()[: 90 if number == 0 else None]
        (tmp_path / f"{number:02}.png").write_bytes(kept)
    items = folder_images(tmp_path)
    assert len(list(sample_pictures(items))) == SAMPLE - 1
    assert len(list(sample_pictures(items[:3]))) == 2
    assert list(sample_pictures([])) == []


def test_no_picture_is_opened_for_a_detector_whose_domain_cannot_be_told(embedded):
    def pictures():
        raise AssertionError("opened")
        yield

    assert domain_warning(pictures(), embedded.info.model_copy(update={"name": "photos"})) is None


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["photos_fullres", "photos_224"])
def test_photographs_are_no_scenes(name, shared_data):
    paths = sorted((shared_data / name / "images").iterdir())
    assert sum(not is_scene(load_image(path)) for path in paths) >= 0.95 * len(paths)
