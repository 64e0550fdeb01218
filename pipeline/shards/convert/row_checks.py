"""Check the images of an imported file; each error names the file, the row and the field."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.shards.content import BOX_TOLERANCE
from pipeline.shards.records import Failure, ImageRegions

FLOATS = ("features", "boxes", "scores", "attribute_scores")

CLASSES = ("labels", "attributes")

COLUMNS = {"features": None, "boxes": 4}
"""Length of the second axis, None for any; the other arrays have one axis."""


class RowChecks:
    """Checks each image of an input, that ids are unique and that all features have one width.

    Args:
        skip_faulty: give a `Failure` for a faulty image, instead of raising its error.
        **fields: the format's name of an attribute of `ImageRegions`, if it differs.
    """

    def __init__(self, *, skip_faulty: bool = True, **fields: str) -> None:
        self._skip_faulty = skip_faulty
        self._fields = fields
        self._where: dict[str, str] = {}  # the place of every id so far
        self._width: int | None = None

    def __call__(self, record: ImageRegions, where: str) -> ImageRegions:
        """Return the image if it is sound.

        Args:
            record: the image as its reader made it.
            where: the file and the row, as the user should read it.

        Raises:
            DataError: an id that is empty or not new, an array that is not as long as the features
                or of another type, NaN, infinity, another feature width, or a box that leaves the
                image by more than a pixel or has no area.
        """
        for attribute, fault in self._faults(record):
            field = self._fields.get(attribute, attribute)
            raise DataError(f"{where}, field {field}: {fault}.\nMend or remove it.")
        self._where[record.image_id] = where
        self._width = self._width or record.features.shape[1]
        return record

    def outcome(
        self, read: Callable[[], ImageRegions], image_id: str, where: str
    ) -> ImageRegions | Failure:
        """The image that `read` gives if it is sound, else its failure.

        Args:
            read: reads the image.
            image_id: its id, as far as it can be told without reading it.
            where: as for a call.

        Raises:
            DataError: the image is faulty, and such ones are not skipped.
        """
        try:
            return self(read(), where)
        except DataError as error:
            if not self._skip_faulty:
                raise
            # What came first keeps the id: a repeated image fails under its place.
            is_first = self._where.setdefault(image_id, where) == where
            return Failure(image_id if is_first else where, str(error))

    def _faults(self, record: ImageRegions) -> Iterator[tuple[str, str]]:
        """Attributes and their faults; each check relies on those before it."""
        image_id = record.image_id
        if not image_id or not image_id.isprintable():
            yield "image_id", f"expected an id of printable characters, found {image_id!r}"
        if image_id in self._where:
            yield "image_id", f"the id {image_id!r} is already used in {self._where[image_id]}"
        for attribute in (*FLOATS, *CLASSES):
            array = getattr(record, attribute)
            fault = None if array is None else _array_fault(attribute, array, len(record.features))
            if fault:
                yield attribute, fault
        num_regions, width = record.features.shape
        if num_regions and not width:
            yield "features", f"there are none for {num_regions} regions"
        if num_regions and self._width and width != self._width:
            yield "features", f"they are {width} wide, {self._width} in the rows before"
        if record.image_size is not None and min(record.image_size) < 1:
            height, width = record.image_size
            yield "image_size", f"an image cannot be {width} x {height} pixels"
        if record.boxes is not None:
            fault = _box_fault(record.boxes, record.image_size)
            if fault:
                yield "boxes", fault


def _array_fault(attribute: str, array: NDArray[Any], num_regions: int) -> str | None:
    """The fault in the shape, the type or the values of an array, or None."""
    axes = (num_regions, COLUMNS[attribute]) if attribute in COLUMNS else (num_regions,)
    if len(array.shape) != len(axes) or any(
        want is not None and want != have for want, have in zip(axes, array.shape, strict=True)
    ):
        expected = " x ".join("any" if n is None else str(n) for n in axes)
        found = " x ".join(str(n) for n in array.shape)
        return f"expected {expected} values, found {found}"
    if attribute in CLASSES:
        in_range = array.dtype.kind in "iu" and ((array >= 0) & (array < 2**31 - 1)).all()
        return None if in_range else "expected class indices: integers from 0"
    if array.dtype.kind != "f":
        return f"expected floats, found {array.dtype}"
    finite = np.isfinite(array)
    if finite.all():
        return None
    return f"region {int(np.argwhere(~finite)[0, 0])} holds NaN or infinity"


def _box_fault(boxes: NDArray[Any], image_size: tuple[int, int] | None) -> str | None:
    """The fault of the first bad box, or None."""
    unsound = (boxes[:, 2:] <= boxes[:, :2]).any(axis=1) | (boxes < -BOX_TOLERANCE).any(axis=1)
    size = ""
    if image_size is not None:
        height, width = image_size
        size = f" of {width} x {height} pixels"
        limits = np.array([width, height], dtype=np.float64) + BOX_TOLERANCE
        unsound |= (boxes[:, 2:] > limits).any(axis=1)
    if not unsound.any():
        return None
    first = int(np.flatnonzero(unsound)[0])
    corners = ", ".join(f"{value:g}" for value in boxes[first])
    return f"box {first} is ({corners}): expected x0 < x1, y0 < y1, inside the image{size}"
