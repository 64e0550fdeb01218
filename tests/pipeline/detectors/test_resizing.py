import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from pipeline.detectors.resizing import ResizePolicy, resize, resized_shape


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((375, 500), (600, 800)), ((500, 375), (800, 600)), ((100, 400), (250, 1000))],
)
@pytest.mark.parametrize("library", ["pillow", "opencv"])
def test_short_side_and_largest_side(size, expected, library):
    policy = ResizePolicy(short_side=600, max_side=1000, filter=library)
    assert resized_shape(*size, policy) == expected
    assert resize(picture(*size), policy).shape == (3, *expected)


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1)])
@pytest.mark.parametrize("library", ["pillow", "opencv"])
def test_tiny_and_narrow_pictures_keep_a_pixel(size, library):
    policy = ResizePolicy(short_side=224, max_side=400, filter=library)
    shape = resize(picture(*size), policy).shape
    assert min(shape) >= 1
    assert max(shape) <= 400


def test_pillow_is_what_detectron2_calls():
    photo = picture(37, 61)
    expected = np.asarray(Image.fromarray(photo).resize((33, 20), Image.Resampling.BILINEAR))
    policy = ResizePolicy(short_side=20, max_side=1000)
    assert np.array_equal(resize(photo, policy).transpose(1, 2, 0), expected.astype(np.float32))


@pytest.mark.parametrize("short_side", [20, 64, 97])
def test_opencv_samples_at_pixel_centres_without_averaging(short_side):
    photo = picture(40, 60)
    policy = ResizePolicy(short_side=short_side, max_side=10_000, filter="opencv")
    expected = F.interpolate(
        torch.from_numpy(photo).permute(2, 0, 1)[None].float(),
        scale_factor=short_side / 40,
        mode="bilinear",
        align_corners=False,
        recompute_scale_factor=False,
    )
    ours = resize(photo, policy)[:, : expected.shape[2], : expected.shape[3]]
    assert np.abs(ours - expected[0].numpy()).max() < 0.02


def test_the_picture_of_the_right_size_is_left_alone():
    photo = picture(224, 224)
    policy = ResizePolicy(short_side=224, max_side=400)
    assert np.array_equal(resize(photo, policy).transpose(1, 2, 0), photo)


@pytest.mark.parametrize("library", ["pillow", "opencv"])
@pytest.mark.parametrize("short_side", [40, 53])
def test_planes_come_in_the_order_of_channels(library, short_side):
    photo = picture(40, 60)
    policy = ResizePolicy(short_side=short_side, max_side=400, filter=library)
    planes = resize(photo, policy, "BGR")
    assert np.array_equal(planes, resize(photo, policy, "RGB")[::-1])
    assert planes.flags.c_contiguous
