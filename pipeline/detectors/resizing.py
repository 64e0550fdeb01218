"""Resizing as the library that trained a detector does it.

detectron2 resizes 8-bit pictures with Pillow, whose bilinear filter averages when it shrinks.
Caffe's code resizes floats with OpenCV, whose bilinear filter samples four pixels and does not.
torchvision's detectors sample four pixels too, of an image whose sides are rounded down.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

Floats = NDArray[np.floating[Any]]


class ResizePolicy(BaseModel):
    """Target size, and the library whose filter and rounding are used."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    short_side: int = Field(ge=1, description="Pixels of the resized short side.")
    max_side: int = Field(ge=1, description="Maximum pixels of the resized long side.")
    filter: Literal["pillow", "opencv", "torchvision"] = Field(
        "pillow", description="Library whose bilinear filter is used."
    )


def resize(
    picture: NDArray[np.uint8], policy: ResizePolicy, channels: Literal["RGB", "BGR"] = "RGB"
) -> Floats:
    """Resize a picture into planes, as the policy says.

    Args:
        picture: `[height, width, 3]` RGB.
        policy: sizes and filter.
        channels: order of the planes.

    Returns:
        `[3, height, width]` float32, 0 to 255, at least one pixel high and wide.
    """
    height, width = resized_shape(picture.shape[0], picture.shape[1], policy)
    if (height, width) == picture.shape[:2]:
        return _planes(picture, channels)
    if policy.filter == "pillow":
        shrunk = Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR)
        return _planes(np.asarray(shrunk), channels)
    if policy.filter == "opencv":
        scale_y = scale_x = _opencv_scale(picture.shape[0], picture.shape[1], policy)
    else:  # the rounded sides fill the picture's
        scale_y, scale_x = height / picture.shape[0], width / picture.shape[1]
    rows = _interpolate(_planes(picture, channels), 1, height, scale_y)
    return _interpolate(rows, 2, width, scale_x)


def _planes(pixels_HW3: NDArray[np.uint8], channels: Literal["RGB", "BGR"]) -> Floats:
    ordered = pixels_HW3 if channels == "RGB" else pixels_HW3[:, :, ::-1]
    return np.ascontiguousarray(ordered.transpose(2, 0, 1), np.float32)


def resized_shape(height: int, width: int, policy: ResizePolicy) -> tuple[int, int]:
    """Height and width after resizing, rounded as the library rounds."""
    if policy.filter == "opencv":
        scale = _opencv_scale(height, width, policy)
        return max(1, round(height * scale)), max(1, round(width * scale))
    scale = policy.short_side / min(height, width)
    scale = min(scale, policy.max_side / max(height, width))
    rounding = 0.5 if policy.filter == "pillow" else 0.0
    return max(1, int(height * scale + rounding)), max(1, int(width * scale + rounding))


def _opencv_scale(height: int, width: int, policy: ResizePolicy) -> float:
    scale = policy.short_side / min(height, width)
    if round(scale * max(height, width)) > policy.max_side:
        scale = policy.max_side / max(height, width)
    return scale


def _interpolate(planes: Floats, axis: int, size: int, scale: float) -> Floats:
    """Sample an axis at pixel centres with repeated borders, as cv2.INTER_LINEAR does."""
    place = (np.arange(size) + 0.5) / scale - 0.5
    low = np.floor(place).astype(np.int64)
    share = (place - low).astype(np.float32)
    if axis == 1:
        share = share[:, None]
    last = planes.shape[axis] - 1
    first = planes.take(np.clip(low, 0, last), axis)
    second = planes.take(np.clip(low + 1, 0, last), axis)
    first *= 1 - share
    second *= share
    first += second
    return first
