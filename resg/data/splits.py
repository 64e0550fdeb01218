"""Readers and tables of a split, from the shards in a folder."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil
import torch

from pipeline.fingerprint import file_digest
from pipeline.shards.reader import ShardReader
from pipeline.shards.records import ImageRegions, ParsedCaption
from pipeline.shards.splits import JoinedSplit, open_split
from resg.config import RunSettings
from resg.data.subwords import make_tokeniser
from resg.data.tables import CaptionTable, FeatureCache, ImageTable
from resg.data.vocabulary import Vocabulary

SHARE_OF_MEMORY = 0.5


@dataclass(frozen=True)
class SplitTables:
    """Images and captions of one split.

    Attributes:
        images: I images.
        captions: C captions.
        caption_ids: `[C]`, to name a batch in an error.
    """

    images: ImageTable
    captions: CaptionTable
    caption_ids: list[str]


@dataclass(frozen=True)
class SplitReaders:
    """Readers of the region and caption shards of one split.

    Attributes:
        joined: its images and captions.
    """

    joined: JoinedSplit

    @property
    def regions(self) -> ShardReader[ImageRegions]:
        """Reader of the shards that hold its images."""
        return self.joined.images.reader

    @property
    def captions(self) -> ShardReader[ParsedCaption]:
        """Reader of the shards that hold its captions."""
        return self.joined.captions.reader

    @classmethod
    def open(cls, shards: Path, split: str) -> "SplitReaders":
        """Both readers.

        Raises:
            pipeline.errors.DataError: a kind of shard is missing, damaged, or has no such split.
        """
        return cls(open_split(shards, split))

    def vocabulary(self, settings: RunSettings) -> Vocabulary:
        """Words and edge types of this split, which must be the training split."""
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
            DataError: no captions, no images, or captions of images without regions.
        """
        cache = choose_cache(settings.train.cache, self.feature_bytes, device)
        images = ImageTable(self.joined.images, cache, device)
        other_ids = self.joined.image_of.items()
        images.row |= {ours: images.row[id_] for ours, id_ in other_ids if id_ in images.row}
        captions = CaptionTable(
            self.parsed_captions(),
            images.row,
            vocabulary,
            settings.model.textual_graph.edges,
            make_tokeniser(settings.model.text.encoder),
        )
        return SplitTables(images, captions, self.joined.captions.ids)

    def parsed_captions(self) -> list[ParsedCaption]:
        """All captions in order."""
        return list(self.joined.captions)

    @property
    def feature_bytes(self) -> int:
        """Bytes of all features, nearly: a part of the images counts as that part of the bytes."""
        stored = [sidecar.datasets["features"] for sidecar in self.regions.sidecars]
        total = sum(math.prod(s.shape) * np.dtype(s.dtype).itemsize for s in stored)
        return total * len(self.joined.images) // max(1, len(self.regions))

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
        """SHA-256 by file name of each shard, and of what else says what is in the split."""
        sidecars = (*self.regions.sidecars, *self.captions.sidecars)
        hashes = {sidecar.file: sidecar.sha256 for sidecar in sidecars}
        return hashes | {file.name: file_digest(file) for file in self.joined.files}


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
