"""Augmented batches: boxes stay on what they frame, and what is cut off becomes weak."""

import pytest
import torch

from pipeline.detectors.training.augmentation import AugmentationSettings, augmented, batches
from pipeline.detectors.training.pictures import PictureSet

PLAIN = {"mosaics": 0.0, "colour": 0.0, "stretch": 1.0}


def squares(count=8, side=64):
    """Pictures of a white square on black, each elsewhere, with its box."""
    generator = torch.Generator().manual_seed(1)
    pixels = torch.zeros(count, 3, side, side, dtype=torch.uint8)
    boxes = torch.zeros(count, 2, 4)
    for row in range(count):
        x, y = torch.randint(8, 32, (2,), generator=generator).tolist()
        pixels[row, :, y : y + 24, x : x + 24] = 255
        boxes[row, 0] = torch.tensor([x, y, x + 24, y + 24]) / side
    labels = torch.tensor([[0, -1]]).repeat(count, 1)
    return PictureSet(
        classes=("square",),
        vocabulary=("white",),
        pixels=pixels,
        boxes=boxes,
        labels=labels,
        is_weak=torch.zeros(count, 2, dtype=torch.bool),
        words=torch.ones(count, 1, dtype=torch.uint8),
        has_words=torch.ones(count, dtype=torch.bool),
    )


@pytest.mark.parametrize("mosaics", [0.0, 1.0])
def test_boxes_frame_the_same_pixels_after_cutting_and_mirroring(mosaics):
    torch.manual_seed(0)
    settings = AugmentationSettings(**PLAIN | {"mosaics": mosaics}, min_zoom=0.9, max_zoom=1.2)
    batch = augmented(squares(), torch.arange(8), (128, 192), settings)
    assert batch.images.shape == (8, 3, 128, 192)
    found = 0
    for image, boxes, labels in zip(batch.images, batch.boxes, batch.labels, strict=True):
        for x0, y0, x1, y1 in boxes[labels >= 0].round().int().tolist():
            inside = image[:, y0 + 2 : y1 - 2, x0 + 2 : x1 - 2]
            if inside.numel():
                assert float(inside.mean()) > 240
                found += 1
    assert found >= 8


def test_a_box_that_is_mostly_cut_off_is_weak_and_one_outside_is_gone():
    torch.manual_seed(0)
    settings = AugmentationSettings(**PLAIN, min_zoom=3.0, max_zoom=3.0, min_visible=0.5)
    batch = augmented(squares(64), torch.arange(64), (96, 96), settings)
    visible = (batch.boxes[..., 2:] - batch.boxes[..., :2]).prod(-1)
    share = visible / (24 / 64 * 3 * 96) ** 2
    is_seen = batch.labels >= 0
    assert bool(is_seen.any())
    assert not bool(is_seen.all())
    assert torch.equal(batch.is_weak[is_seen], share[is_seen] < 0.5)


def test_captions_hold_of_whole_pictures_alone():
    torch.manual_seed(0)
    settings = AugmentationSettings(mosaics=0.5, min_zoom=1.0, max_zoom=2.0, caption_zoom=1.25)
    batch = augmented(squares(40), torch.arange(40), (64, 64), settings)
    assert not bool(batch.has_words[:20].any())  # mosaics
    assert 0 < int(batch.has_words[20:].sum()) < 20


def test_an_epoch_holds_every_picture_once():
    settings = AugmentationSettings(**PLAIN, canvases=((64, 64),), min_zoom=1.0, max_zoom=1.0)
    pictures = squares(8)
    drawn = batches(pictures, settings, 4, torch.Generator().manual_seed(0))
    boxes = torch.cat([next(drawn).boxes[:, 0] for _ in range(2)])
    # mirrored or not, the upper edge of a picture's square stays where it was
    assert sorted(boxes[:, 1].tolist()) == pytest.approx(
        sorted((pictures.boxes[:, 0, 1] * 64).tolist()), abs=1e-3
    )
