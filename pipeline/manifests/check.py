"""Compare a data set on disk with its manifest."""

import json
import os
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.errors import DataError
from pipeline.images import MAX_MEGAPIXELS, load_image
from pipeline.manifests.caption_text import caption_fault
from pipeline.manifests.manifest import ImageItem, Manifest, SplitCounts, caption_items
from pipeline.tables import render_table

SHOWN = 20
"""Lines per problem in the table; the JSON report has all."""


@dataclass(frozen=True)
class Count:
    """Number of images or captions of a split: expected (None if unknown) and found."""

    expected: int | None
    found: int


@dataclass(frozen=True)
class ManifestReport:
    """The result of comparing a data set with its manifest.

    Attributes:
        name: the data set's name.
        root: folder of the data set.
        images: images per split, expected and found on disk.
        captions: captions per split, expected and found.
        problems: lines by kind of problem; kinds without problems are absent.
    """

    name: str
    root: str
    images: dict[str, Count]
    captions: dict[str, Count]
    problems: dict[str, list[str]]

    @property
    def ok(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    def to_json(self) -> str:
        """The report as JSON."""
        return json.dumps(asdict(self) | {"ok": self.ok}, indent=2)

    def to_table(self) -> str:
        """The counts as a table, followed by the first lines of each problem."""
        rows = []
        for split, images in self.images.items():
            captions = self.captions[split]
            counts = (images.found, images.expected, captions.found, captions.expected)
            rows.append((split, *("-" if count is None else count for count in counts)))
        columns = ("split", "images", "expected", "captions", "expected")
        text = [self.name, render_table(columns, rows)]
        for kind, lines in self.problems.items():
            text.append(f"{len(lines):,} {kind}:")
            text += [f"  {line}" for line in lines[:SHOWN]]
            if len(lines) > SHOWN:
                text.append(f"  ... and {len(lines) - SHOWN:,} more; --json names all")
        text.append("complete" if self.ok else f"differs from the manifest: {self.root}")
        return "\n".join(text)


def check_manifest(
    manifest: Manifest,
    root: Path,
    *,
    decode: bool = True,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> ManifestReport:
    """Count images and captions below `root`; list missing, duplicate and damaged ones.

    Args:
        manifest: describes the data set.
        root: folder of the data set.
        decode: also decode each picture, which takes a few milliseconds per picture.
        max_megapixels: as in `load_image`.

    Raises:
        DataError: the root or a caption file is missing, or a caption file has another format.
    """
    if not root.is_dir():
        raise DataError(
            f"expected the data set {manifest.name} in {root}, but there is no such folder."
        )
    entries = manifest.captioned_images(root, keep_undecodable=True)
    captions = caption_items(entries)
    faults: list[str | None] = [None] * len(entries)
    if manifest.image_pattern is not None:
        items = [manifest.image_item(root, entry) for entry in entries]
        faults = _image_faults(items, decode, max_megapixels)
    present = [e for e, fault in zip(entries, faults, strict=True) if fault != _MISSING]
    there = {entry.image_id for entry in present}
    splits = list(dict.fromkeys([*manifest.splits, *(entry.split for entry in entries)]))
    images_came = Counter(entry.split for entry in present)
    captions_came = Counter(caption.split for caption in captions)
    expected = {split: manifest.splits.get(split, SplitCounts(images=0)) for split in splits}
    images = {s: Count(expected[s].images, images_came[s]) for s in splits}
    counted = {s: Count(expected[s].captions, captions_came[s]) for s in splits}
    problems = {
        "missing images": [
            str(manifest.image_item(root, entry).path)
            for entry, fault in zip(entries, faults, strict=True)
            if fault == _MISSING
        ],
        "undecodable images": [fault for fault in faults if fault and fault != _MISSING],
        "captions without an image": [c.id for c in captions if c.image_id not in there],
        "duplicate images": _repeated(entry.image_id for entry in entries),
        "duplicate captions": _repeated(caption.id for caption in captions),
        "captions that cannot be parsed": [
            f"{caption.id}: {fault}"
            for caption in captions
            if (fault := caption_fault(caption.text))
        ],
        "wrong counts": [*_wrong_counts("images", images), *_wrong_counts("captions", counted)],
    }
    found = {kind: [_shown(line) for line in lines] for kind, lines in problems.items() if lines}
    return ManifestReport(manifest.name, str(root), images, counted, found)


_MISSING = "missing"


def _image_faults(items: list[ImageItem], decode: bool, max_megapixels: float) -> list[str | None]:
    def fault(item: ImageItem) -> str | None:
        if not item.path.is_file():
            return _MISSING
        if decode:
            try:
                load_image(item.path, max_megapixels=max_megapixels)
            except DataError as error:
                return str(error)
        return None

    with ThreadPoolExecutor(os.cpu_count()) as threads:  # Pillow decodes outside the GIL
        return list(threads.map(fault, items))


def _repeated(ids: Iterable[str]) -> list[str]:
    return [f"{id} ({count} times)" for id, count in Counter(ids).items() if count > 1]


def _shown(line: str) -> str:
    # Bytes that are not UTF-8 were kept as lone surrogates, which cannot be printed.
    return line.encode("utf-8", "backslashreplace").decode("utf-8")


def _wrong_counts(what: str, counts: dict[str, Count]) -> list[str]:
    return [
        f"split {split}: expected {count.expected:,} {what}, found {count.found:,}"
        for split, count in counts.items()
        if count.expected is not None and count.found != count.expected
    ]
