"""Batches of training pictures, augmented on the device that holds them.

Each batch has one size; its pictures are cut, stretched, mirrored and recoloured, and half of them
are mosaics of four (Bochkovskiy et al. 2020), in which objects are small and sharp.

B images, G boxes an image has at most (padded), V words.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F

from pipeline.detectors.training.pictures import PictureSet


class AugmentationSettings(BaseModel):
    """How batches are made of pictures."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    canvases: tuple[tuple[int, int], ...] = Field(
        ((416, 416), (384, 512), (512, 384), (352, 352), (416, 544), (480, 480)),
        description="Heights and widths of batches, one drawn at random; multiples of 64.",
    )
    mosaics: float = Field(0.5, ge=0, le=1, description="Share of pictures made of four.")
    min_zoom: float = Field(0.75, gt=0, description="Smallest magnification.")
    max_zoom: float = Field(1.8, gt=0, description="Largest magnification.")
    stretch: float = Field(1.25, ge=1, description="Largest change of the aspect.")
    colour: float = Field(0.3, ge=0, lt=1, description="Largest change of brightness and so on.")
    caption_zoom: float = Field(1.25, description="Magnification up to which captions still hold.")
    min_visible: float = Field(0.35, description="Visible share of a box below which it is weak.")
    min_side: float = Field(5.0, description="Pixels of the shorter side below which it is weak.")


@dataclass(frozen=True, eq=False)
class DetectionBatch:
    """Images of one size with what is known of them.

    Attributes:
        images: `[B, 3, H, W]` RGB, 0 to 255; H and W are multiples of 32.
        boxes: `[B, G, 4]` corners in pixels; padding is of no consequence.
        labels: `[B, G]` class from 0; -1 is padding.
        is_weak: `[B, G]` neither object nor background.
        words: `[B, V]` 1 for each word of the image's captions.
        has_words: `[B]` whether its captions are known.
    """

    images: Tensor
    boxes: Tensor
    labels: Tensor
    is_weak: Tensor
    words: Tensor
    has_words: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        height, width = self.images.shape[-2:]
        return height, width


def batches(
    pictures: PictureSet,
    settings: AugmentationSettings,
    batch: int,
    generator: torch.Generator,
) -> Iterator[DetectionBatch]:
    """Endless batches; a picture comes once an epoch, and now and then as a part of a mosaic."""
    while True:
        order = torch.randperm(len(pictures), generator=generator)
        for start in range(0, len(order) - batch + 1, batch):
            rows = order[start : start + batch].to(pictures.pixels.device)
            pick = torch.randint(len(settings.canvases), (), generator=generator)
            yield augmented(pictures, rows, settings.canvases[int(pick)], settings)


def augmented(
    pictures: PictureSet, rows: Tensor, canvas: tuple[int, int], settings: AugmentationSettings
) -> DetectionBatch:
    """A batch of these pictures in one size."""
    height, width = canvas
    num_mosaics = round(len(rows) * settings.mosaics)
    parts = []
    if num_mosaics:
        others = torch.randint(len(pictures), (3, num_mosaics), device=rows.device)
        quarters = [
            _place(pictures, part, (height // 2, width // 2), settings)
            for part in (rows[:num_mosaics], *others)
        ]
        parts.append(_mosaic(quarters, canvas))
    if num_mosaics < len(rows):
        parts.append(_place(pictures, rows[num_mosaics:], canvas, settings))
    return _without_padding(_concatenate(parts))


def _place(
    pictures: PictureSet, rows: Tensor, canvas: tuple[int, int], settings: AugmentationSettings
) -> DetectionBatch:
    """Cut a window out of each picture at random, mirror and recolour it, and fill the canvas."""
    height, width = canvas
    device, count = rows.device, len(rows)

    def uniform(low: float, high: float) -> Tensor:
        return torch.empty(count, 1, device=device).uniform_(low, high)

    zoom = uniform(settings.min_zoom, settings.max_zoom)
    stretch = uniform(1 / settings.stretch, settings.stretch).sqrt()
    window = torch.cat([stretch / zoom, 1 / (stretch * zoom)], 1)  # width, height as shares
    room = 1 - window  # below 0 the picture is smaller than the canvas, and grey is around it
    origin = room * torch.rand(count, 2, device=device)
    is_mirrored = torch.rand(count, 1, device=device) < 0.5

    grid = torch.zeros(count, 2, 3, device=device)
    sign = torch.where(is_mirrored[:, 0], -1.0, 1.0)
    grid[:, 0, 0], grid[:, 1, 1] = window[:, 0] * sign, window[:, 1]
    grid[:, :, 2] = 2 * origin + window - 1
    source = pictures.pixels[rows].float() - 128
    sampled = F.grid_sample(
        source,
        F.affine_grid(grid, [count, 3, height, width], align_corners=False),
        mode="bilinear",
        align_corners=False,
    )
    boxes = (pictures.boxes[rows] - origin.repeat(1, 2)[:, None]) / window.repeat(1, 2)[:, None]
    mirrored = torch.stack([1 - boxes[..., 2], boxes[..., 1], 1 - boxes[..., 0], boxes[..., 3]], -1)
    boxes = torch.where(is_mirrored[..., None], mirrored, boxes)
    boxes = boxes * boxes.new_tensor([width, height, width, height])
    visible = torch.minimum(boxes.clamp(min=0), boxes.new_tensor([width, height] * 2))
    sides = visible[..., 2:] - visible[..., :2]
    whole_area = (boxes[..., 2:] - boxes[..., :2]).prod(-1).clamp(min=1e-6)
    is_seen = (sides > 1).all(-1)
    is_weak = (
        pictures.is_weak[rows]
        | (sides.clamp(min=0).prod(-1) / whole_area < settings.min_visible)
        | (sides.amin(-1) < settings.min_side)
    )
    return DetectionBatch(
        images=_recolour(sampled, settings.colour),
        boxes=visible,
        labels=torch.where(is_seen, pictures.labels[rows], -1),
        is_weak=is_weak,
        words=pictures.words[rows].float(),
        has_words=pictures.has_words[rows] & (zoom[:, 0] <= settings.caption_zoom),
    )


def _recolour(centred_B3HW: Tensor, strength: float) -> Tensor:
    """Brightness, contrast and saturation of each picture changed at random; back to 0 to 255."""
    factors = torch.empty(3, len(centred_B3HW), 1, 1, 1, device=centred_B3HW.device)
    brightness, contrast, saturation = factors.uniform_(-strength, strength)
    grey = centred_B3HW.mean(1, keepdim=True)
    coloured = grey + (centred_B3HW - grey) * (1 + saturation)
    return (coloured * (1 + contrast) + 128 * brightness + 128).clamp(0, 255)


def _mosaic(quarters: Sequence[DetectionBatch], canvas: tuple[int, int]) -> DetectionBatch:
    """Four batches in the quarters of a canvas; captions hold of none of them."""
    height, width = canvas
    upper, lower = (torch.cat([quarters[k].images for k in pair], 3) for pair in ((0, 1), (2, 3)))
    corners = [(0, 0), (width // 2, 0), (0, height // 2), (width // 2, height // 2)]
    shifts = [quarters[0].boxes.new_tensor(corner * 2) for corner in corners]
    return DetectionBatch(
        images=torch.cat([upper, lower], 2),
        boxes=torch.cat([q.boxes + s for q, s in zip(quarters, shifts, strict=True)], 1),
        labels=torch.cat([quarter.labels for quarter in quarters], 1),
        is_weak=torch.cat([quarter.is_weak for quarter in quarters], 1),
        words=quarters[0].words,
        has_words=torch.zeros_like(quarters[0].has_words),
    )


def _concatenate(parts: Sequence[DetectionBatch]) -> DetectionBatch:
    """One batch after the other, boxes padded to the largest number."""
    most = max(part.boxes.shape[1] for part in parts)

    def padded(tensor: Tensor, value: float) -> Tensor:
        trailing = (0, 0) * (tensor.dim() - 2)
        return F.pad(tensor, (*trailing, 0, most - tensor.shape[1]), value=value)

    return DetectionBatch(
        images=torch.cat([part.images for part in parts]),
        boxes=torch.cat([padded(part.boxes, 0) for part in parts]),
        labels=torch.cat([padded(part.labels, -1) for part in parts]),
        is_weak=torch.cat([padded(part.is_weak, False) for part in parts]),
        words=torch.cat([part.words for part in parts]),
        has_words=torch.cat([part.has_words for part in parts]),
    )


def _without_padding(batch: DetectionBatch) -> DetectionBatch:
    """Real boxes first, and no more columns than the fullest picture needs."""
    order = (batch.labels < 0).int().argsort(dim=1, stable=True)
    order = order[:, : max(1, int((batch.labels >= 0).sum(1).max()))]
    return replace(
        batch,
        boxes=batch.boxes.gather(1, order[..., None].expand(-1, -1, 4)),
        labels=batch.labels.gather(1, order),
        is_weak=batch.is_weak.gather(1, order),
    )
