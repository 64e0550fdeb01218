"""Draw regions into a picture: numbered boxes, and a list of labels and scores beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipeline.detectors.base import DetectedRegions, DetectorInfo, Picture
from pipeline.errors import SettingsError

CANVAS_SIDE = 1000
"""Pixels of the drawn picture's long side, so that the labels of a small one are legible."""

WRITTEN = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
"""Endings of the pictures that are written."""

PALETTE = (
    (230, 25, 75),
    (0, 130, 200),
    (60, 180, 75),
    (245, 130, 48),
    (145, 30, 180),
    (0, 128, 128),
    (128, 0, 0),
    (0, 0, 160),
    (128, 128, 0),
    (200, 30, 160),
    (90, 90, 90),
    (170, 110, 40),
)
FONT_SIZE = 14
LINE_HEIGHT = 19
MARGIN = 8


def draw_regions(picture: Picture, regions: DetectedRegions, info: DetectorInfo) -> Image.Image:
    """Draw numbered boxes, and a list of the numbers' labels and scores beside the picture.

    Labels at the boxes would hide one another where there are many, so each box has its number
    only, placed where it covers no other number.

    Args:
        picture: `[height, width, 3]` RGB.
        regions: its regions.
        info: the detector's metadata, for names.
    """
    scale = CANVAS_SIDE / max(picture.shape[:2])
    width = max(1, round(picture.shape[1] * scale))
    height = max(1, round(picture.shape[0] * scale))
    font = ImageFont.load_default(FONT_SIZE)
    lines = [_line(k, regions, info) for k in range(len(regions.boxes))]
    list_width = 2 * MARGIN + 24 + int(max((font.getlength(line) for line in lines), default=0))
    list_height = LINE_HEIGHT * len(lines) + 2 * MARGIN
    page = Image.new("RGB", (width + list_width, max(height, list_height)), "white")
    page.paste(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))
    pen = ImageDraw.Draw(page)
    taken: list[_Tag] = []
    for k in reversed(range(len(lines))):  # the best on top
        pen.rectangle(_corners(regions.boxes[k] * scale), outline=_colour(k), width=2)
    for k, line in enumerate(lines):
        tag = _place(regions.boxes[k] * scale, font.getlength(str(k + 1)), taken, (width, height))
        taken.append(tag)
        _write(pen, tag, str(k + 1), k, font)
        y = MARGIN + k * LINE_HEIGHT
        _write(pen, _Tag(width + MARGIN, y, 22, LINE_HEIGHT - 2), str(k + 1), k, font)
        pen.text((width + MARGIN + 28, y), line, fill="black", font=font)
    return page


@dataclass(frozen=True)
class _Tag:
    """The rectangle of a number."""

    x: float
    y: float
    width: float
    height: float

    def meets(self, other: "_Tag") -> bool:
        return (
            self.x < other.x + other.width
            and other.x < self.x + self.width
            and self.y < other.y + other.height
            and other.y < self.y + self.height
        )


def _line(k: int, regions: DetectedRegions, info: DetectorInfo) -> str:
    """A line of the list, such as `small striped red circle 0.98`."""
    words = [info.classes[regions.labels[k]]]
    if regions.attribute_scores is not None:
        words = _attributes(regions.attribute_scores[k], info) + words
    return f"{' '.join(words)} {regions.scores[k]:.2f}"


def _attributes(scores: np.ndarray, info: DetectorInfo) -> list[str]:
    """The most probable attribute of each group, or of all where there are no groups."""
    groups = list(dict.fromkeys(info.attribute_groups)) or [""]
    chosen = []
    for group in groups:
        members = [
            k
            for k in range(len(scores))
            if not info.attribute_groups or info.attribute_groups[k] == group
        ]
        chosen.append(info.attributes[max(members, key=lambda k: scores[k])])
    return chosen


def _colour(k: int) -> tuple[int, int, int]:
    return PALETTE[k % len(PALETTE)]


def _corners(box: np.ndarray) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (float(value) for value in box)
    return x0, y0, max(x0, x1), max(y0, y1)


def _place(
    box: np.ndarray, text_width: float, taken: Sequence[_Tag], size: tuple[int, int]
) -> _Tag:
    """Find a free place for a number on the box's edge, inside the picture."""
    width, height = text_width + 6, LINE_HEIGHT - 2
    x0, y0, x1, y1 = _corners(box)
    across = np.arange(x0, max(x0 + 1, x1 - width), 8)
    down = np.arange(y0, max(y0 + 1, y1 - height), 8)
    places = [(x, y0) for x in across] + [(x0, y) for y in down]
    places += [(x, y1 - height) for x in across] + [(x1 - width, y) for y in down]
    tags = [
        _Tag(
            min(max(0.0, float(x)), max(0.0, size[0] - width)),
            min(max(0.0, float(y)), max(0.0, size[1] - height)),
            width,
            height,
        )
        for x, y in places
    ]
    free = (tag for tag in tags if not any(tag.meets(other) for other in taken))
    return next(free, tags[0])


def _write(
    pen: ImageDraw.ImageDraw,
    tag: _Tag,
    text: str,
    k: int,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    pen.rectangle((tag.x, tag.y, tag.x + tag.width, tag.y + tag.height), fill=_colour(k))
    pen.text((tag.x + 3, tag.y), text, fill="white", font=font)


def save_picture(picture: Image.Image, out: Path) -> None:
    """Write a picture in the format that the ending of its name says; its folder is made.

    Raises:
        SettingsError: it says none of WRITTEN.
    """
    if out.suffix.lower() not in WRITTEN:
        raise SettingsError(
            f"expected the name of a picture, such as regions.png or regions.jpg, got {out.name!r}."
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    picture.convert("RGB").save(out)
