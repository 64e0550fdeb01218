"""Readers and tables of a split, from the shards in a folder."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil
import torch

from pipeline.shards.reader import ShardReader
from pipeline.shards.records import ImageRegions, ParsedCaption
from resg.config import RunSettings
from resg.data.subwords import make_tokeniser
from resg.data.tables import CaptionTable, DataError, FeatureCache, ImageTable
from resg.data.vocabulary import Vocabulary

SHARE_OF_MEMORY = 0.5
EXAMPLES = 3


@dataclass(frozen=True)
class LeftOut:
    """Captions of images without regions: they are neither trained on nor scored.

    Attributes:
        caption_ids: of these captions, in order.
        image_ids: of their images, each once.
    """

    caption_ids: tuple[str, ...] = ()
    image_ids: tuple[str, ...] = ()

    def counts(self) -> dict[str, int]:
        """How many `captions` of how many `images`."""
        return {"captions": len(self.caption_ids), "images": len(self.image_ids)}


@dataclass(frozen=True)
class SplitTables:
    """Images and captions of one split.

    Attributes:
        images: I images.
        captions: C captions.
        caption_ids: `[C]`, to name a batch in an error.
        left_out: captions of the split that are not in the tables.
    """

    images: ImageTable
    captions: CaptionTable
    caption_ids: list[str]
    left_out: LeftOut = LeftOut()

    def counts(self) -> dict[str, Any]:
        """Images, captions, and the counts of what is left out."""
        return {
            "images": len(self.images),
            "captions": len(self.captions),
            "left_out": self.left_out.counts(),
        }


@dataclass(frozen=True)
class SplitReaders:
    """Readers of the region and caption shards of one split."""

    regions: ShardReader
    captions: ShardReader

    @classmethod
    def open(cls, shards: Path, split: str) -> "SplitReaders":
        """Both readers.

        Raises:
            pipeline.errors.DataError: a kind of shard is missing, damaged, or has no such split.
        """
        return cls(ShardReader(shards, "regions", split), ShardReader(shards, "captions", split))

    def vocabulary(self, settings: RunSettings) -> Vocabulary:
        """Words and edge types of this split, which must be the training split.

        Raises:
            DataError: as `parsed_captions`.
        """
        names = self.regions.names or {}
        return Vocabulary.build(
            self.parsed_captions(),
            settings.model.text.min_count,
            names.get("relations", ()),
        )

    def tables(
        self, settings: RunSettings, vocabulary: Vocabulary, device: torch.device
    ) -> SplitTables:
        """Tables of this split; where features are kept is chosen by their size.

        Raises:
            DataError: as `parsed_captions`.
        """
        tokeniser = make_tokeniser(settings.model.text.encoder)
        parsed = self.parsed_captions()
        cache = choose_cache(settings.train.cache, self.feature_bytes, device)
        images = ImageTable(self.images, cache, device)
        captions = CaptionTable(
            parsed, images.row, vocabulary, settings.model.textual_graph.edges, tokeniser
        )
        ids = [caption.caption_id for caption in parsed]
        return SplitTables(images, captions, ids, self.left_out)

    @cached_property
    def images(self) -> Sequence[ImageRegions]:
        """The images that have a region, in order; they are read when they are needed."""
        if self.regions.lengths.all():
            return cast(Sequence[ImageRegions], self.regions)
        rows = self.regions.lengths.nonzero()[0].tolist()
        return cast(Sequence[ImageRegions], self.regions.batch(rows))

    def parsed_captions(self) -> list[ParsedCaption]:
        """The captions of `images`, in order.

        Raises:
            DataError: no caption has an image with regions.
        """
        owners = self.captions.image_ids
        kept = [row for row, image_id in enumerate(owners) if image_id in self._image_ids]
        if not kept:
            raise DataError(
                f"expected captions of images with regions in split {self.captions.split!r} of "
                f"{self.captions.directory}, got none.\n"
                f"Images with regions: {_examples(self._image_ids)}. "
                f"Images of captions: {_examples(dict.fromkeys(owners))}.\n"
                "Give both the same image ids: extract the regions and parse the captions of the "
                "same manifest. Skipped images are listed in the sidecars, under `failures`."
            )
        return cast(list[ParsedCaption], self.captions.batch(kept))

    @cached_property
    def left_out(self) -> LeftOut:
        """The captions whose image has no regions: the detector could not read or skipped it."""
        pairs = zip(self.captions.ids, self.captions.image_ids, strict=True)
        lost = [pair for pair in pairs if pair[1] not in self._image_ids]
        return LeftOut(
            tuple(caption_id for caption_id, _ in lost),
            tuple(dict.fromkeys(image_id for _, image_id in lost)),
        )

    @cached_property
    def _image_ids(self) -> dict[str, None]:
        """Ids of `images`, in order."""
        counts = zip(self.regions.ids, self.regions.lengths, strict=True)
        return {image_id: None for image_id, num_regions in counts if num_regions}

    @property
    def feature_bytes(self) -> int:
        """Bytes of all features."""
        stored = [sidecar.datasets["features"] for sidecar in self.regions.sidecars]
        return sum(math.prod(s.shape) * np.dtype(s.dtype).itemsize for s in stored)

    def fingerprints(self) -> dict[str, Mapping[str, Any]]:
        """Which detector and parser made the shards: a run stores it and refuses others.

        A stage's inputs are in its fingerprint too, under other names, and are left out here: a run
        may be evaluated on other data of the same detector and parser.
        """
        return {
            kind: reader.fingerprint.get("model", reader.fingerprint)
            for kind, reader in (("regions", self.regions), ("captions", self.captions))
        }

    def hashes(self) -> dict[str, str]:
        """SHA-256 of each shard by file name."""
        sidecars = (*self.regions.sidecars, *self.captions.sidecars)
        return {sidecar.file: sidecar.sha256 for sidecar in sidecars}


def _examples(ids: Mapping[str, None]) -> str:
    """The first ids, and how many there are."""
    shown = ", ".join(list(ids)[:EXAMPLES])
    return f"{shown} ({len(ids):,} in all)" if ids else "none"


def choose_cache(wanted: str, feature_bytes: int, device: torch.device) -> FeatureCache:
    """Where features are kept: on the GPU or in RAM if they take at most half of what is free.

    Args:
        wanted: `auto`, or one that is taken as it is.
        feature_bytes: bytes of all features.
        device: where training runs.
    """
    if wanted != "auto":
        return cast(FeatureCache, wanted)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if feature_bytes <= SHARE_OF_MEMORY * free:
            return "device"
    return "ram" if feature_bytes <= SHARE_OF_MEMORY * psutil.virtual_memory().available else "map"
