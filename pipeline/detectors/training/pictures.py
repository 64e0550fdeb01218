"""Training pictures in memory: pixels, boxes, and the words of their captions.

Some ten thousand small photographs fit into a GPU's memory as bytes, so that no loader stands
between them and the network.

N pictures, S stored side, G boxes a picture has at most, V words.
"""

import gzip
import json
import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.errors import DataError, SettingsError
from pipeline.images import load_image

# fmt: off
STOP_WORDS = frozenset((
    "a", "an", "and", "are", "as", "at", "be", "being", "by", "down", "for", "from", "her",
    "his", "in", "into", "is", "it", "its", "near", "of", "on", "out", "over", "that", "the",
    "their", "there", "they", "this", "through", "to", "up", "very", "where", "which", "while",
    "who", "with",
))
# fmt: on


READERS = 8
"""Threads that decode pictures."""


@dataclass(frozen=True)
class PictureSource:
    """A folder of photographs with boxes in COCO's format.

    Attributes:
        images: the folder.
        instances: JSON file, also gzipped; `iscrowd` 1 marks weak boxes.
        captions: file in Karpathy's form, also gzipped, whose train split gives words; or None.
    """

    images: Path
    instances: Path
    captions: Path | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `FOLDER,BOXES` or `FOLDER,BOXES,CAPTIONS`.

        Raises:
            SettingsError: another form.
        """
        parts = text.split(",")
        if not 2 <= len(parts) <= 3 or not all(parts):
            raise SettingsError(
                f"expected photographs as FOLDER,BOXES.json or FOLDER,BOXES.json,CAPTIONS.json; "
                f"got {text!r}."
            )
        return cls(*map(Path, parts))


@dataclass(frozen=True, eq=False)
class PictureSet:
    """Pictures with boxes and words; corners are shares of width and height.

    Attributes:
        classes: names.
        vocabulary: words of captions.
        pixels: `[N, 3, S, S]` uint8 RGB.
        boxes: `[N, G, 4]`.
        labels: `[N, G]`; -1 is padding.
        is_weak: `[N, G]`.
        words: `[N, V]` uint8.
        has_words: `[N]`.
    """

    classes: tuple[str, ...]
    vocabulary: tuple[str, ...]
    pixels: Tensor
    boxes: Tensor
    labels: Tensor
    is_weak: Tensor
    words: Tensor
    has_words: Tensor

    def __len__(self) -> int:
        return len(self.pixels)

    def to(self, device: torch.device) -> "PictureSet":
        """The same on another device."""
        tensors = {k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)}
        return PictureSet(classes=self.classes, vocabulary=self.vocabulary, **tensors)


def read_pictures(
    sources: Sequence[PictureSource], *, side: int = 256, min_word_count: int = 20
) -> PictureSet:
    """Read pictures, boxes and caption words into memory.

    Args:
        sources: all with the same classes.
        side: pictures are kept as squares of this many pixels.
        min_word_count: pictures whose captions must hold a word for it to be predicted.

    Raises:
        DataError: a file is missing or damaged, a picture is not listed, or classes differ.
    """
    listings = [_Listing.read(source) for source in sources]
    classes = listings[0].classes
    for source, listing in zip(sources, listings, strict=True):
        if listing.classes != classes:
            raise DataError(
                f"expected the classes of {sources[0].instances} in every file, {source.instances} "
                "has others; give all files one list of categories."
            )
    records = [record for listing in listings for record in listing.records]
    counts = Counter(word for record in records for word in record.words or ())
    vocabulary = tuple(sorted(w for w, count in counts.items() if count >= min_word_count))
    column = {word: k for k, word in enumerate(vocabulary)}
    most = max((len(record.labels) for record in records), default=1) or 1
    pixels = torch.empty(len(records), 3, side, side, dtype=torch.uint8)
    boxes = torch.zeros(len(records), most, 4)
    labels = torch.full((len(records), most), -1)
    is_weak = torch.zeros(len(records), most, dtype=torch.bool)
    words = torch.zeros(len(records), len(vocabulary), dtype=torch.uint8)

    def read(row: int) -> None:
        record = records[row]
        picture = Image.fromarray(load_image(record.path))
        squashed = picture.resize((side, side), Image.Resampling.BILINEAR)
        pixels[row] = torch.from_numpy(np.array(squashed)).permute(2, 0, 1)
        scale = torch.tensor([picture.width, picture.height] * 2)
        boxes[row, : len(record.labels)] = torch.from_numpy(record.boxes) / scale

    with ThreadPoolExecutor(READERS) as readers:
        list(readers.map(read, range(len(records))))
    for row, record in enumerate(records):
        count = len(record.labels)
        if count:
            labels[row, :count] = torch.tensor(record.labels)
            is_weak[row, :count] = torch.tensor(record.is_weak)
        known = [column[word] for word in record.words or () if word in column]
        words[row, known] = 1
    has_words = torch.tensor([bool(record.words) for record in records])
    return PictureSet(classes, vocabulary, pixels, boxes, labels, is_weak, words, has_words)


@dataclass(frozen=True, eq=False)
class _Record:
    path: Path
    boxes: np.ndarray
    labels: list[int] = field(default_factory=list)
    is_weak: list[bool] = field(default_factory=list)
    words: frozenset[str] | None = None


@dataclass(frozen=True)
class _Listing:
    classes: tuple[str, ...]
    records: tuple[_Record, ...]

    @classmethod
    def read(cls, source: PictureSource) -> "_Listing":
        content = _read_json(source.instances)
        words = {} if source.captions is None else caption_words(source.captions)
        categories = sorted(content["categories"], key=lambda category: category["id"])
        class_of = {category["id"]: k for k, category in enumerate(categories)}
        by_image: dict[Any, list[dict[str, Any]]] = {}
        for annotation in content["annotations"]:
            by_image.setdefault(annotation["image_id"], []).append(annotation)
        records = []
        for image in content["images"]:
            found = by_image.get(image["id"], [])
            corners = np.array([a["bbox"] for a in found], np.float32).reshape(-1, 4)
            corners[:, 2:] += corners[:, :2]
            records.append(
                _Record(
                    source.images / image["file_name"],
                    corners,
                    [class_of[a["category_id"]] for a in found],
                    [bool(a.get("iscrowd", 0)) for a in found],
                    words.get(image["file_name"]),
                )
            )
        return cls(tuple(category["name"] for category in categories), tuple(records))


def caption_words(path: Path) -> dict[str, frozenset[str]]:
    """Content words of each picture's captions, of the train split of a file in Karpathy's form."""
    return {
        image["filename"]: frozenset(
            word
            for sentence in image["sentences"]
            for word in re.findall(r"[a-z]{2,}", sentence["raw"].lower())
            if word not in STOP_WORDS
        )
        for image in _read_json(path)["images"]
        if image["split"] == "train"
    }


def _read_json(path: Path) -> Any:
    if not path.is_file():
        raise DataError(f"expected a JSON file in {path}, there is no such file.")
    content = path.read_bytes()
    try:
        return json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)
    except (ValueError, EOFError, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is not valid JSON ({error}); download it again.") from error
