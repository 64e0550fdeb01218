"""Decode pictures, with one policy for damaged, huge and non-RGB files."""

import io
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError, features

from pipeline.errors import DataError
from pipeline.png_metadata import without_metadata

MAX_MEGAPIXELS = 80.0
"""Larger pictures are refused: decoding takes at least four bytes per pixel."""

HEIF_SUFFIXES = frozenset({".heic", ".heics", ".heif", ".heifs", ".hif"})
"""Endings of HEIC pictures, which Pillow reads with the package pillow-heif alone."""

_UNREAD = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})
"""Formats that Pillow opens but cannot decode by itself: it only knows their names, needs Windows
(WMF), or would start Ghostscript (EPS)."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a stored picture upright, by its EXIF orientation (EXIF 2.32, tag 0x0112)."""

_opening = threading.Lock()

# What Pillow raises while it decodes a damaged file, beside OSError; its plug-ins read the
# file's own numbers, so a wrong one surfaces as any of these.
_DECODING_FAULTS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    ArithmeticError,
    MemoryError,
    struct.error,
    zlib.error,
)


def load_image(path: Path, *, max_megapixels: float = MAX_MEGAPIXELS) -> NDArray[np.uint8]:
    """Read a picture as 8-bit RGB, with its EXIF orientation applied.

    Grey, palette and CMYK pictures are converted to RGB, 16 bits per channel to 8, transparent
    pixels are blended with white, and an animation gives its first frame. The orientation counts
    whatever other EXIF tags hold; one that cannot be read leaves the pixels as they are stored.
    Metadata of a PNG file that is too large or damaged is left out.

    Args:
        path: file of any format that Pillow reads.
        max_megapixels: largest picture to decode, in millions of pixels; checked before decoding.

    Returns:
        `[height, width, 3]` uint8, contiguous and writable.

    Raises:
        DataError: the file is missing, empty, not a picture, truncated or too large; the message is
            one sentence.
    """
    return _loaded(Path(path), max_megapixels)


def load_thumbnail(
    path: Path, side: int, *, max_megapixels: float = MAX_MEGAPIXELS
) -> NDArray[np.uint8]:
    """Read a small copy of a picture, to be looked at; large JPEG files are decoded at that size.

    Args:
        path: file of any format that Pillow reads.
        side: pixels of its longer side at most.
        max_megapixels: as for `load_image`.

    Returns:
        `[height, width, 3]` uint8, upright.

    Raises:
        DataError: as `load_image`.
    """
    small = Image.fromarray(_loaded(Path(path), max_megapixels, side))
    small.thumbnail((side, side))
    return np.array(small)


def _loaded(path: Path, max_megapixels: float, side: int | None = None) -> NDArray[np.uint8]:
    try:
        try:
            return _decode(path, path, max_megapixels, side)
        except _DECODING_FAULTS:
            pixels_alone = without_metadata(path)
            if pixels_alone is None:
                raise
            return _decode(path, io.BytesIO(pixels_alone), max_megapixels, side)
    except _DECODING_FAULTS as error:
        raise DataError(f"the picture {path.name} {_fault(path, error)}") from error


@cache
def picture_suffixes() -> frozenset[str]:
    """Endings of the names of pictures that can be decoded here, in lower case with their dot."""
    _open_heif()
    Image.init()
    unread = set(_UNREAD)
    if not features.check("jpg_2000"):
        unread.add("JPEG2000")
    return frozenset(
        suffix
        for suffix, format in Image.registered_extensions().items()
        # Pillow's plug-in for JPEG opens MPO, which is several JPEG pictures in one file
        if (format in Image.OPEN or format == "MPO") and format not in unread
    )


@cache
def _open_heif() -> None:
    """Let Pillow open HEIC pictures, where the extra `heif` is installed."""
    try:
        import pillow_heif
    except ImportError:
        return
    pillow_heif.register_heif_opener()


def _decode(
    path: Path, source: Path | IO[bytes], max_megapixels: float, side: int | None
) -> NDArray[np.uint8]:
    with _open(source) as image:
        _check_size(path, image, max_megapixels)
        if side is not None:
            image.draft("RGB", (side, side))  # for JPEG alone; never smaller than asked
        _forget_metadata(image)
        image.load()
        # A copy: the array of a Pillow image is read-only.
        return np.array(_as_rgb(_upright(image)))


def _open(source: Path | IO[bytes]) -> Image.Image:
    # Pillow's own limit is a global: it warns at 89 megapixels and raises at 179 while it reads the
    # header, whatever this function was asked for. The limit is checked right after instead.
    _open_heif()
    with _without_warnings():
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(source)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Pillow warns of metadata that it cannot read; none of it is needed here."""
    with _opening, warnings.catch_warnings():  # which threads must not enter at the same time
        warnings.simplefilter("ignore")
        yield


def _check_size(path: Path, image: Image.Image, max_megapixels: float) -> None:
    width, height = image.size
    megapixels = width * height / 1e6
    if megapixels > max_megapixels:
        raise DataError(
            f"the picture {path.name} has {width} x {height} pixels ({megapixels:.0f} megapixels), "
            f"the limit is {max_megapixels:g} megapixels; shrink it or raise the limit"
        )


def _forget_metadata(image: Image.Image) -> None:
    """Drop what Pillow reads while it decodes a TIFF, although the pixels do not need it.

    A faulty pointer to EXIF or GPS tags, or XMP of a wrong type, would fail the whole picture.
    """
    if image.format == "TIFF":
        if not isinstance(image.info.get("xmp"), bytes):
            image.info.pop("xmp", None)
        with _without_warnings():
            exif = image.getexif()
        for pointer in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo, ExifTags.IFD.Interop):
            exif.pop(pointer, None)


def _upright(image: Image.Image) -> Image.Image:
    turn = _TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 if there is none that can be read.

    Pillow's `exif_transpose` also writes all tags back, and fails where another one has a value
    that its type cannot hold.
    """
    try:
        with _without_warnings():
            value = image.getexif().get(ExifTags.Base.Orientation, 1)
        while isinstance(value, tuple):  # some cameras write it more than once
            value = value[0]
        return value[0] if isinstance(value, bytes) else int(value)
    except _DECODING_FAULTS:
        return 1


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey: I;16, I;16B, and I in older versions
        values = np.asarray(image).astype(np.int64)
        if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
            raise ValueError("32-bit integer pixels have no known range")
        image = Image.fromarray((values // 257).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        page = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(page, image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _fault(path: Path, error: BaseException) -> str:
    if isinstance(error, FileNotFoundError):
        return "is missing"
    if isinstance(error, IsADirectoryError):
        return "is a folder"
    if isinstance(error, PermissionError):
        return "cannot be read (permission denied)"
    if path.stat().st_size == 0:
        return "is empty (0 bytes)"
    if isinstance(error, UnidentifiedImageError):
        if path.suffix.lower() in HEIF_SUFFIXES - picture_suffixes():
            return "needs the package pillow-heif: pip install 'resg[heif]'"
        return "is in no format that Pillow can read; is it a picture?"
    reason = " ".join(str(error).split()) or type(error).__name__
    return f"is damaged and cannot be decoded: {reason}"
