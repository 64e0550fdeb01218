"""Boxes of pictures that EXIF turns: which pixels does an annotation file count?

Pictures are loaded turned as their EXIF orientation says. Of two kinds of annotation files, one
counts the pixels as the file stores them (COCO's tools), the other as viewers show them (most
labelling tools). Mixed up, training learns boxes of other pixels (detectron2 issue 788).
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags, Image

from pipeline.errors import DataError

logger = logging.getLogger(__name__)

Size = tuple[int, int]


@dataclass(frozen=True)
class StoredPicture:
    """What a picture's header says.

    Attributes:
        size: width and height as stored.
        orientation: of EXIF, 1 to 8; 1 where the header has none.
    """

    size: Size
    orientation: int

    @property
    def turned_size(self) -> Size:
        """Width and height as viewers, and `load_image`, show it."""
        width, height = self.size
        return (height, width) if self.orientation >= 5 else (width, height)

    def turned_box(self, box: Sequence[float]) -> list[float]:
        """A box `x, y, width, height` of the stored pixels, in those of the turned picture."""
        x0, y0, box_width, box_height = box
        width, height = self.size
        corners = [(x0, y0), (x0 + box_width, y0 + box_height)]
        turned = [_turned(x, y, width, height, self.orientation) for x, y in corners]
        (xs, ys) = zip(*turned, strict=True)
        return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]


def _turned(
    x: float, y: float, width: float, height: float, orientation: int
) -> tuple[float, float]:
    """Where a point of the stored picture lies in the turned one; EXIF 2.3, tag Orientation."""
    if orientation in (2, 3, 7, 8):
        x = width - x
    if orientation in (3, 4, 6, 7):
        y = height - y
    return (y, x) if orientation >= 5 else (x, y)


def read_header(path: Path) -> StoredPicture:
    """Size and orientation of a picture, without decoding it.

    Raises:
        DataError: it cannot be opened.
    """
    try:
        with Image.open(path) as image:
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
            known = orientation if orientation in range(1, 9) else 1
            return StoredPicture((image.width, image.height), known)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"the picture {path} cannot be opened: {error}") from error


def pictures_to_turn(
    headers: Mapping[Path, StoredPicture], listed: Mapping[Path, Size], file: Path
) -> set[Path]:
    """The pictures whose boxes count stored pixels, and so must be turned.

    The size that the file lists tells for pictures on their side. Upside-down, mirrored and square
    ones have the same size either way; they follow the others of the file, and count as turned
    where there are no others.

    Args:
        headers: of each picture.
        listed: width and height of each picture in the annotation file.
        file: the annotation file, for messages.

    Raises:
        DataError: a size that the picture has neither way.
    """
    stored, shown, undecided = set(), set(), set()
    for path, header in headers.items():
        if listed[path] not in (header.size, header.turned_size):
            raise DataError(
                f"{file} says that {path.name} has {_text(listed[path])} pixels, the picture has "
                f"{_text(header.size)}; its boxes would lie elsewhere. Give the pictures that were "
                "annotated."
            )
        if header.orientation == 1:
            continue
        if header.size == header.turned_size:
            undecided.add(path)
        else:
            (stored if listed[path] == header.size else shown).add(path)
    if undecided and not stored and not shown:
        logger.warning(
            "EXIF turns %d pictures upside down or mirrors them, and %s does not tell whether "
            "their boxes are turned too; they are taken for turned",
            len(undecided),
            file,
        )
    return stored | undecided if len(stored) > len(shown) else stored


def _text(size: Size) -> str:
    return f"{size[0]} x {size[1]}"
