"""Read the formats that captions are published in.

`karpathy-json`  one JSON file, its images each with file name, split and sentences
`token-tsv`      lines `file#k<TAB>caption`, as Flickr8k and Flickr30K are published; may end in .gz
`coco-json`      COCO's captions_*.json: images with file names, annotations with captions
`scan-txt`       SCAN's `*_caps.txt`: one caption per line, a fixed number of lines per image
`table`          CSV or TSV whose header names an image and a caption column, perhaps a split
`json-records`   objects of an image and its captions: one per line, in a list, or by image
"""

import json
from collections.abc import Iterable, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import DataError
from pipeline.manifests.caption_rows import CaptionRow, recognise, record_rows, table_rows
from pipeline.text_files import lines_of, read_text

CaptionFormat = Literal[
    "karpathy-json", "token-tsv", "coco-json", "scan-txt", "table", "json-records"
]

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
    format: CaptionFormat | None = None,
    *,
    split: str | None = None,
    ids: Path | None = None,
    captions_per_image: int = 5,
    keep_undecodable: bool = False,
) -> list[CaptionedImage]:
    """The images of a caption file with their captions, in the file's order.

    Args:
        file: the caption file; gzip is unpacked.
        format: how it is written; None to recognise it, which nothing tells of `scan-txt`.
        split: the split of all its images, if the file itself names none.
        ids: for `scan-txt`, a file of image ids, one per line.
        captions_per_image: for `scan-txt`, the number of lines per image.
        keep_undecodable: keep bytes that are not UTF-8 as lone surrogates instead of refusing them.

    Raises:
        DataError: the file is missing, not UTF-8, or not of that format; the line is named.
    """
    text = read_text(file, "caption file", keep_undecodable=keep_undecodable)
    try:
        match format or recognise(text, file):
            case "karpathy-json":
                return _only_texts(_karpathy(json.loads(text), split), file)
            case "coco-json":
                return _only_texts(_coco(json.loads(text), split), file)
            case "token-tsv":
                return _token_tsv(text, file, split)
            case "table":
                return _by_image(table_rows(text, file), file, split)
            case "json-records":
                return _by_image(record_rows(text, file), file, split)
            case _:  # scan-txt
                rows = lines_of(read_text(ids, "file of ids")) if ids else None
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
    for number, line in enumerate(lines_of(text), start=1):
        key, tab, caption = line.partition("\t")
        image_id, hash_sign, k = key.rpartition("#")
        if not (tab and hash_sign and image_id and k):
            raise DataError(
                f"{file}, line {number}: expected `file#k<TAB>caption`, "
                f"got {line[:60]!r}. Fix or remove the line."
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


def _by_image(rows: Iterable[CaptionRow], file: Path, split: str | None) -> list[CaptionedImage]:
    captions: dict[str, list[str]] = {}
    splits: dict[str, str | None] = {}
    for row in rows:
        captions.setdefault(row.image, []).append(row.caption)
        if splits.setdefault(row.image, row.split) != row.split:
            raise DataError(
                f"{file}: the image {row.image!r} is in the splits {splits[row.image]} and "
                f"{row.split}. Keep one of them."
            )
    return [
        CaptionedImage(
            image_id=image,
            folder="",
            split=split or splits[image] or WHOLE,
            captions=tuple(texts),
            numbers=_counted(texts),
        )
        for image, texts in captions.items()
    ]


def _scan(
    text: str, file: Path, split: str, ids: list[str] | None, captions_per_image: int
) -> list[CaptionedImage]:
    lines = lines_of(text)
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


def _only_texts(images: list[CaptionedImage], file: Path) -> list[CaptionedImage]:
    """The images; a caption of another JSON type, such as null, is refused."""
    for image in images:
        for number, caption in zip(image.numbers, image.captions, strict=True):
            if not isinstance(caption, str):
                raise DataError(
                    f"{file}: caption {number} of {image.image_id} is {caption!r}, expected text. "
                    "Correct or remove it."
                )
    return images


def _counted(captions: Sized) -> tuple[str, ...]:
    return tuple(str(k) for k in range(len(captions)))
