"""Does a data set on disk hold what its manifest says?"""

import json
import os
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.errors import DataError
from pipeline.images import MAX_MEGAPIXELS, load_image
from pipeline.manifests.caption_files import caption_fault
from pipeline.manifests.manifest import ImageItem, Manifest, SplitCounts, caption_items
from pipeline.tables import render_table

SHOWN = 20
"""Lines of one problem that the table names; the JSON report names all."""


@dataclass(frozen=True)
class Count:
    """How many images or captions a split should have (None: not known) and has."""

    expected: int | None
    came: int


@dataclass(frozen=True)
class ManifestReport:
    """What came of comparing a data set with its manifest.

    Attributes:
        name: the data set's name.
        root: where it was looked for.
        images: images a split, as expected and as counted on disk.
        captions: captions a split, as expected and as counted.
        problems: what is wrong, kind by kind, a line each; kinds without problems are left out.
    """

    name: str
    root: str
    images: dict[str, Count]
    captions: dict[str, Count]
    problems: dict[str, list[str]]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_json(self) -> str:
        """Everything, as one JSON object."""
        return json.dumps(asdict(self) | {"ok": self.ok}, indent=2)

    def to_table(self) -> str:
        """The counts as a table, below it each problem with its first lines."""
        rows = []
        for split, images in self.images.items():
            captions = self.captions[split]
            counts = (images.came, images.expected, captions.came, captions.expected)
            rows.append((split, *("-" if count is None else count for count in counts)))
        columns = ("split", "images", "expected", "captions", "expected")
        text = [self.name, render_table(columns, rows)]
        for kind, lines in self.problems.items():
            text.append(f"{len(lines):,} {kind}:")
            text += [f"  {line}" for line in lines[:SHOWN]]
            if len(lines) > SHOWN:
                text.append(f"  ... and {len(lines) - SHOWN:,} more; --json names all")
        text.append(
            "complete, as the manifest says"
            if self.ok
            else f"not as the manifest says: {self.root}"
        )
        return "\n".join(text)


def check_manifest(
    manifest: Manifest,
    root: Path,
    *,
    decode: bool = True,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> ManifestReport:
    """Count images and captions below `root` and name what is missing, double or damaged.

    Args:
        manifest: what the data set should be.
        root: where it lies.
        decode: also decode each picture, which takes some milliseconds each.
        max_megapixels: as in `load_image`.

    Raises:
        DataError: the root or a caption file is missing, or a caption file is not of its format.
    """
    if not root.is_dir():
        raise DataError(f"expected the data set {manifest.name} in {root}, no such folder came.")
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
        "images that come twice": _repeated(entry.image_id for entry in entries),
        "captions that come twice": _repeated(caption.id for caption in captions),
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
        f"split {split}: {count.expected:,} {what} expected, {count.came:,} came"
        for split, count in counts.items()
        if count.expected is not None and count.came != count.expected
    ]
