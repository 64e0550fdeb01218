"""The images and captions of one split, joined by the ids of their images.

A side whose shards name no split takes that of the other side: Karpathy's captions divide the
features of a file of all COCO images. Where neither side names one, `pipeline split` draws them,
and `splits.json` beside the shards, which never change, says which image is in which.
"""

import hashlib
import json
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

import numpy as np

from pipeline.errors import DataError, SettingsError
from pipeline.image_ids import join_ids
from pipeline.manifests.caption_files import WHOLE
from pipeline.shards.reader import MissingSplitError, ShardReader
from pipeline.shards.records import ImageRegions, ParsedCaption
from pipeline.shards.schema import Kind

FILE = "splits.json"

UNSPLIT = frozenset({None, WHOLE})
"""Splits of shards whose source names none: imported features, a folder of pictures."""

Record = TypeVar("Record", bound=ImageRegions | ParsedCaption)


class Subset(Sequence[Record], Generic[Record]):
    """Some records of a reader, as a sequence."""

    def __init__(self, reader: ShardReader[Record], rows: Sequence[int]) -> None:
        self.reader = reader
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Record]:
        if len(self.rows) == len(self.reader):  # a reader goes through its shards without a search
            return iter(self.reader)
        return map(self.reader.__getitem__, self.rows)

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> "Subset[Record]": ...

    def __getitem__(self, index: int | slice) -> "Record | Subset[Record]":
        if isinstance(index, slice):
            return Subset(self.reader, self.rows[index])
        return self.reader[self.rows[index]]

    @cached_property
    def ids(self) -> list[str]:
        """Ids of the images or captions."""
        return [self.reader.ids[row] for row in self.rows]


@dataclass(frozen=True)
class JoinedSplit:
    """One split.

    Attributes:
        images: its images.
        captions: its captions.
        image_of: the id among `images` by the image id that captions have, where they differ.
        files: what says which records belong to it, besides the shards.
    """

    images: Subset[ImageRegions]
    captions: Subset[ParsedCaption]
    image_of: Mapping[str, str]
    files: tuple[Path, ...] = ()


def open_split(shards: Path, split: str) -> JoinedSplit:
    """The images and captions of a split of a folder of shards.

    If the captions name the split, it has all of them, whether their image is there or not. Unless
    the images name it too, images without a caption are left out.

    Raises:
        DataError: a kind of shard is missing or damaged, there is no such split, or captions that
            name no split are of an image that is not there.
    """
    regions, captions = _reader(shards, "regions", split), _reader(shards, "captions", split)
    if captions.split is None:
        return _by_images(shards, split, regions, captions)
    if regions.split is not None:
        joined = join_ids(captions.image_ids, regions.ids)
        return JoinedSplit(_all(regions), _all(captions), _other_ids(joined))
    joined = join_ids(ShardReader(shards, "captions").image_ids, regions.ids)
    described = {joined.get(image) for image in captions.image_ids}
    return JoinedSplit(_with_image(regions, described), _all(captions), _other_ids(joined))


def _by_images(
    shards: Path,
    split: str,
    regions: ShardReader[ImageRegions],
    captions: ShardReader[ParsedCaption],
) -> JoinedSplit:
    """A split that the images name, or `splits.json` for them; captions go with their image."""
    everything = ShardReader(shards, "regions") if regions.split else regions
    joined = _join(captions.image_ids, everything)
    wanted = set(regions.ids) if regions.split else set(_drawn(shards, split))
    rows = [row for row, image in enumerate(captions.image_ids) if joined.get(image) in wanted]
    described = {joined[captions.image_ids[row]] for row in rows}
    return JoinedSplit(
        images=_with_image(regions, described),
        captions=Subset(captions, rows),
        image_of=_other_ids(joined),
        files=() if regions.split else (shards / FILE,),
    )


def _with_image(
    regions: ShardReader[ImageRegions], images: Container[str | None]
) -> Subset[ImageRegions]:
    return Subset(regions, [row for row, image in enumerate(regions.ids) if image in images])


def _other_ids(joined: Mapping[str, str]) -> dict[str, str]:
    return {ours: theirs for ours, theirs in joined.items() if ours != theirs}


def _all(reader: ShardReader[Record]) -> Subset[Record]:
    return Subset(reader, range(len(reader)))


def _reader(shards: Path, kind: Kind, split: str) -> ShardReader[Any]:
    """A reader of the split, or of all shards if none of them names a split."""
    try:
        return ShardReader(shards, kind, split)
    except MissingSplitError as error:
        if not error.splits <= UNSPLIT:
            raise
        return ShardReader(shards, kind)


def _join(images: Sequence[str], regions: ShardReader[ImageRegions]) -> dict[str, str]:
    """Id in the shards by each caption's image id; images that failed are left out.

    Raises:
        DataError: an image is neither in a shard nor among those that failed.
    """
    failed = {id_ for sidecar in regions.sidecars for id_ in sidecar.failures}
    joined = join_ids(images, [*regions.ids, *failed])
    lone = [image for image in dict.fromkeys(images) if image not in joined]
    if lone:
        raise DataError(
            f"{regions.directory} has no regions of {len(lone):,} images that captions describe, "
            f"such as {', '.join(map(repr, lone[:3]))}; its images are called "
            f"{', '.join(map(repr, regions.ids[:3]))}.\n"
            "Are regions and captions of the same data? pipeline verify counts what fits."
        )
    return {ours: theirs for ours, theirs in joined.items() if theirs not in failed}


def _drawn(shards: Path, split: str) -> list[str]:
    """Ids of the images of a split in `splits.json`."""
    images = read_splits(shards)
    if images is None:
        raise DataError(
            f"{shards} has no split {split!r}: neither its images nor its captions name splits.\n"
            f"Divide them into train, val and test once: pipeline split {shards}"
        )
    if not images.get(split):
        raise DataError(
            f"{shards / FILE} has no images of split {split!r}, only of "
            f"{', '.join(name for name, ids in images.items() if ids)}. "
            "Draw others: pipeline split --overwrite"
        )
    return images[split]


def read_splits(shards: Path) -> dict[str, list[str]] | None:
    """Ids of images by split, as `draw_splits` drew them; None if it did not.

    Raises:
        DataError: the file is damaged.
    """
    try:
        content = json.loads((shards / FILE).read_text(encoding="utf-8"))
        return {split: list(ids) for split, ids in content["images"].items()}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{shards / FILE} is damaged ({error}). Draw it anew: pipeline split --overwrite"
        ) from error


def draw_splits(
    shards: Path, shares: Mapping[str, float], *, seed: int = 0, overwrite: bool = False
) -> dict[str, int]:
    """Divide the images of a folder of shards at random, and write `splits.json` there.

    Images of equal features are one picture under several names and stay together. The result
    depends on the ids and the seed alone, not on the order of the shards.

    Args:
        shards: a folder with shards of regions that name no split.
        shares: share of the images by split; they add up to 1.
        seed: of the random order.
        overwrite: replace other splits that were drawn.

    Returns:
        Images in each split.

    Raises:
        SettingsError: the shares do not add up to 1.
        DataError: the shards name splits, there are fewer pictures than splits, or other splits
            were drawn.
    """
    if min(shares.values()) < 0 or abs(sum(shares.values()) - 1) > 1e-6:
        given = ", ".join(f"{split} {share:g}" for split, share in shares.items())
        raise SettingsError(f"expected shares from 0 that add up to 1, got {given}.")
    reader = ShardReader(shards, "regions")
    named = {str(sidecar.split) for sidecar in reader.sidecars if sidecar.split not in UNSPLIT}
    if named:
        raise DataError(f"the images in {shards} have splits already: {', '.join(sorted(named))}.")
    images = _assign(_pictures(reader), shares, seed)
    content = {"seed": seed, "shares": dict(shares), "images": images}
    if (shards / FILE).exists() and not overwrite and read_splits(shards) != images:
        raise DataError(
            f"{shards / FILE} holds other splits, and runs may have been trained on them.\n"
            "Replace them with --overwrite."
        )
    partial = shards / f"{FILE}.tmp"
    partial.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    partial.replace(shards / FILE)
    return {split: len(ids) for split, ids in images.items()}


def _pictures(reader: ShardReader[ImageRegions]) -> list[list[str]]:
    """Ids of the images of each picture: those of equal features."""
    pictures: dict[bytes, list[str]] = {}
    for record in reader:
        digest = hashlib.sha256(np.ascontiguousarray(record.features).tobytes()).digest()
        pictures.setdefault(digest, []).append(record.image_id)
    return sorted(sorted(ids) for ids in pictures.values())


def _assign(
    pictures: list[list[str]], shares: Mapping[str, float], seed: int
) -> dict[str, list[str]]:
    """Ids by split: each has its share, and at least one picture if its share is not 0."""
    wanted = [split for split, share in shares.items() if share > 0]
    if len(pictures) < len(wanted):
        raise DataError(
            f"expected a picture for each of {', '.join(wanted)}, there are {len(pictures)}."
        )
    order = np.random.default_rng(seed).permutation(len(pictures)).tolist()
    total = sum(map(len, pictures))
    images: dict[str, list[str]] = {split: [] for split in shares}
    for place, split in enumerate(reversed(wanted)):  # the first one, train, takes the rest
        others = len(wanted) - place - 1
        target = max(1, round(shares[split] * total))
        while len(order) > others and (not others or len(images[split]) < target):
            images[split] += pictures[order.pop()]
    return {split: sorted(ids) for split, ids in images.items()}
