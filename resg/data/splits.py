"""Readers and tables of a split, from the shards in a folder."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil
import torch

from pipeline.shards.reader import ShardReader
from pipeline.shards.records import ImageRegions, ParsedCaption
from resg.config import RunSettings
from resg.data.subwords import make_tokeniser
from resg.data.tables import CaptionTable, FeatureCache, ImageTable
from resg.data.vocabulary import END, MASK, START, Vocabulary

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
        """Words and edge types of this split, which must be the training split."""
        names = self.regions.names or {}
        text, own_words = settings.model.text, ()
        if text.encoder == "gru":
            own_words = (START, END) if text.boundaries else ()
            own_words += (MASK,) if settings.train.dropped_words == "mixed" else ()
        return Vocabulary.build(
            self.parsed_captions(), text.min_count, names.get("relations", ()), own_words
        )

    def tables(
        self, settings: RunSettings, vocabulary: Vocabulary, device: torch.device
    ) -> SplitTables:
        """Tables of this split; where features are kept is chosen by their size.

        Raises:
            DataError: no captions, no images, or captions of images without regions.
        """
        cache = choose_cache(settings.train.cache, self.feature_bytes, device)
        images = ImageTable(cast(list[ImageRegions], self.regions), cache, device)
        captions = CaptionTable(
            self.parsed_captions(),
            images.row,
            vocabulary,
            settings.model.textual_graph.edges,
            make_tokeniser(settings.model.text.encoder),
        )
        return SplitTables(images, captions, self.captions.ids)

    def parsed_captions(self) -> list[ParsedCaption]:
        """All captions in order."""
        return [cast(ParsedCaption, caption) for caption in self.captions]

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
