"""Is an image of a foreign file sound? Each error names the file, the row and the field."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.shards.records import Floats, ImageRegions

BOX_TOLERANCE = 1.0
"""Pixels by which a box may leave its image: detectors clip to the resized image and scale back."""

PER_REGION = ("boxes", "labels", "scores", "attributes", "attribute_scores")


class RowChecks:
    """Checks each image of an input, and that no id comes twice and all features have one width.

    Args:
        **fields: what the format calls an attribute of `ImageRegions`, where it is another name.
    """

    def __init__(self, **fields: str) -> None:
        self._fields = fields
        self._where: dict[str, str] = {}  # the place of every id so far
        self._width: int | None = None

    def __call__(self, record: ImageRegions, where: str) -> ImageRegions:
        """The same image, if it is sound.

        Args:
            record: the image as its reader made it.
            where: the file and the row, as the user should read it.

        Raises:
            DataError: an id that is empty or not new, an array that is not as long as the features,
                NaN, infinity, another feature width, or a box that leaves the image by more than
                a pixel or ends before it begins.
        """
        for attribute, fault in (
            ("image_id", self._id_fault(record.image_id)),
            ("features", self._width_fault(record)),
            *_array_faults(record),
            ("image_size", _size_fault(record)),
            ("boxes", _box_fault(record)),
        ):
            if fault:
                field = self._fields.get(attribute, attribute)
                raise DataError(f"{where}, field {field}: {fault}.\nMend or remove it.")
        self._where[record.image_id] = where
        return record

    def _id_fault(self, image_id: str) -> str | None:
        if not image_id or not image_id.isprintable():
            return f"expected an id of printable characters, found {image_id!r}"
        if image_id in self._where:
            return f"the id {image_id!r} already stands in {self._where[image_id]}"
        return None

    def _width_fault(self, record: ImageRegions) -> str | None:
        num_regions, width = record.features.shape
        if num_regions == 0:
            return None
        self._width = self._width or width
        if width == self._width:
            return None
        return f"features are {width} wide, {self._width} in the rows before"


def _array_faults(record: ImageRegions) -> list[tuple[str, str]]:
    """The attributes whose arrays are too short or long, or not finite, and why."""
    faults = []
    num_regions = len(record.features)
    for attribute in ("features", *PER_REGION):
        array = getattr(record, attribute)
        if array is None:
            continue
        if len(array) != num_regions:
            faults.append((attribute, f"expected {num_regions} regions, found {len(array)}"))
        elif not np.isfinite(array).all():
            region = int(np.argwhere(~np.isfinite(array))[0, 0])
            faults.append((attribute, f"region {region} holds NaN or infinity"))
        elif attribute in ("labels", "attributes") and not _are_classes(array):
            faults.append((attribute, "expected class numbers, whole and from 0"))
    return faults


def _are_classes(array: NDArray[Any]) -> bool:
    return array.dtype.kind in "iu" and bool(((array >= 0) & (array < 2**31 - 1)).all())


def _size_fault(record: ImageRegions) -> str | None:
    if record.image_size is None or min(record.image_size) > 0:
        return None
    height, width = record.image_size
    return f"an image cannot be {width} x {height} pixels"


def _box_fault(record: ImageRegions) -> str | None:
    """What is wrong with the first unsound box, or None."""
    if record.boxes is None:
        return None
    boxes: Floats = record.boxes
    outside = (boxes[:, 2:] < boxes[:, :2]).any(axis=1) | (boxes < -BOX_TOLERANCE).any(axis=1)
    size = ""
    if record.image_size is not None:
        height, width = record.image_size
        size = f" of {width} x {height} pixels"
        limits = np.array([width, height], dtype=np.float64) + BOX_TOLERANCE
        outside |= (boxes[:, 2:] > limits).any(axis=1)
    if not outside.any():
        return None
    row = int(np.flatnonzero(outside)[0])
    corners = ", ".join(f"{value:g}" for value in boxes[row])
    return f"box {row} is ({corners}): expected x0 <= x1, y0 <= y1, inside the image{size}"
