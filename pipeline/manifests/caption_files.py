"""Read the formats that captions are published in.

`karpathy-json`  one JSON file, its images each with file name, split and sentences
`token-tsv`      lines `file#k<TAB>caption`, as Flickr8k and Flickr30K are published; may end in .gz
`coco-json`      COCO's captions_*.json: images with file names, annotations with captions
`scan-txt`       SCAN's `*_caps.txt`: one caption per line, a fixed number of lines per image
"""

import gzip
import json
import unicodedata
import zlib
from collections.abc import Callable, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import DataError

CaptionFormat = Literal["karpathy-json", "token-tsv", "coco-json", "scan-txt"]

WHOLE = "all"
"""The split of images and captions whose source names none."""


@dataclass(frozen=True)
class CaptionedImage:
    """One image of a caption file.

    Attributes:
        image_id: its file name, or the name of its row if the format has no file names; its path if
            file names of the data set repeat.
        folder: the folder that the caption file names, or an empty string.
        split: the split it belongs to.
        captions: its captions, in the file's order.
        numbers: the number k of each caption's id `image#k`.
        file: its file name, if that is not its id.
    """

    image_id: str
    folder: str
    split: str
    captions: tuple[str, ...]
    numbers: tuple[str, ...]
    file: str | None = None


def read_captions(
    file: Path,
    format: CaptionFormat,
    *,
    split: str | None = None,
    ids: Path | None = None,
    captions_per_image: int = 5,
    keep_undecodable: bool = False,
) -> list[CaptionedImage]:
    """The images of a caption file with their captions, in the file's order.

    Args:
        file: the caption file; `.gz` is unpacked.
        format: how it is written.
        split: the split of all its images, if the file itself names none.
        ids: for `scan-txt`, a file of image ids, one per line.
        captions_per_image: for `scan-txt`, the number of lines per image.
        keep_undecodable: keep bytes that are not UTF-8 as lone surrogates instead of refusing them.

    Raises:
        DataError: the file is missing, not UTF-8, or not of that format; the line is named.
    """
    text = _read_text(file, keep_undecodable)
    try:
        match format:
            case "karpathy-json":
                return _karpathy(json.loads(text), split)
            case "coco-json":
                return _coco(json.loads(text), split)
            case "token-tsv":
                return _token_tsv(text, file, split)
            case "scan-txt":
                rows = _lines(_read_text(ids, keep_undecodable)) if ids else None
                return _scan(text, file, split or WHOLE, rows, captions_per_image)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{file} should hold {format}, but is not JSON: {error}. "
            "Is it another file, or not fully downloaded?"
        ) from error
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{file} is JSON but not {format}: {type(error).__name__} at {error}. "
            "Check the caption format in the manifest."
        ) from error


def caption_fault(text: str) -> str | None:
    """Why a caption cannot be parsed, as a sentence, or None.

    A caption needs at least one character that is not white space, and none that is a control
    character (tabs included) or a byte that was not UTF-8.
    """
    if not text.strip():
        return "the caption is empty"
    for place, character in enumerate(text):
        category = unicodedata.category(character)
        if category == "Cc":
            return f"the caption has the control character U+{ord(character):04X} at place {place}"
        if category == "Cs":
            return f"the caption has a byte that is not UTF-8 at place {place}"
    return None


def _read_text(file: Path, keep_undecodable: bool) -> str:
    unpack: Callable[[bytes], bytes] = gzip.decompress if file.suffix == ".gz" else bytes
    try:
        content = unpack(file.read_bytes())
    except FileNotFoundError as error:
        raise DataError(
            f"the caption file {file} is missing. Check the path, or the manifest and --root."
        ) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(
            f"{file} is not a complete gzip file: {error}. Download it again."
        ) from error
    try:
        return content.decode("utf-8-sig", "surrogateescape" if keep_undecodable else "strict")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{file} should be UTF-8, but line {line} has the byte 0x{content[error.start]:02x} "
            f"at offset {error.start}. Convert it, for example with: iconv -f latin1 -t utf-8"
        ) from error


def _lines(text: str) -> list[str]:
    # Not splitlines(): it also cuts at control characters that may stand inside a caption.
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines[:-1] if lines[-1] == "" else lines


def _karpathy(content: dict[str, Any], split: str | None) -> list[CaptionedImage]:
    images = []
    for image in content["images"]:
        captions = tuple(sentence["raw"] for sentence in image["sentences"])
        images.append(
            CaptionedImage(
                image_id=image["filename"],
                folder=image.get("filepath", ""),
                split=split or image["split"],
                captions=captions,
                numbers=_counted(captions),
            )
        )
    return images


def _coco(content: dict[str, Any], split: str | None) -> list[CaptionedImage]:
    captions: dict[Any, list[str]] = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        captions[annotation["image_id"]].append(annotation["caption"])
    return [
        CaptionedImage(
            image_id=image["file_name"],
            folder="",
            split=split or WHOLE,
            captions=tuple(captions[image["id"]]),
            numbers=_counted(captions[image["id"]]),
        )
        for image in content["images"]
    ]


def _token_tsv(text: str, file: Path, split: str | None) -> list[CaptionedImage]:
    captions: dict[str, list[tuple[str, str]]] = {}
    for number, line in enumerate(_lines(text), start=1):
        key, tab, caption = line.partition("\t")
        image_id, hash_sign, k = key.rpartition("#")
        if not (tab and hash_sign and image_id and k):
            raise DataError(
                f"{file}, line {number}: expected `file#k<TAB>caption`, "
                f"came {line[:60]!r}. Fix or remove the line."
            )
        captions.setdefault(image_id, []).append((k, caption))
    return [
        CaptionedImage(
            image_id=image_id,
            folder="",
            split=split or WHOLE,
            captions=tuple(caption for _, caption in rows),
            numbers=tuple(k for k, _ in rows),
        )
        for image_id, rows in captions.items()
    ]


def _scan(
    text: str, file: Path, split: str, ids: list[str] | None, captions_per_image: int
) -> list[CaptionedImage]:
    lines = _lines(text)
    count, rest = divmod(len(lines), captions_per_image)
    if rest:
        raise DataError(
            f"{file} has {len(lines)} lines, which is no multiple of {captions_per_image} captions "
            "an image. Set captions_per_image in the manifest."
        )
    if ids is not None and len(ids) == len(lines):  # SCAN repeats an image's id for each caption
        ids = ids[::captions_per_image]
    if ids is not None and len(ids) != count:
        raise DataError(
            f"{file} has captions of {count} images, its id file has {len(ids)} ids. "
            "One id an image, or one a caption, is expected."
        )
    return [
        CaptionedImage(
            image_id=ids[row] if ids else f"{split}:{row}",
            folder="",
            split=split,
            captions=tuple(lines[row * captions_per_image : (row + 1) * captions_per_image]),
            numbers=_counted(range(captions_per_image)),
        )
        for row in range(count)
    ]


def _counted(captions: Sized) -> tuple[str, ...]:
    return tuple(str(k) for k in range(len(captions)))
