"""Readers and tables of a split, from the shards in a folder."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil
import torch

from pipeline.fingerprint import file_digest
from pipeline.shards.reader import ShardReader
from pipeline.shards.records import ImageRegions, ParsedCaption
from pipeline.shards.splits import JoinedSplit, Subset, open_split
from resg.config import RunSettings
from resg.data.phrases import PhraseTable
from resg.data.subwords import make_tokeniser
from resg.data.tables import CaptionTable, DataError, FeatureCache, ImageTable, SwappedCaptions
from resg.data.vocabulary import END, MASK, START, Vocabulary

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
        swapped: the captions with subject and object exchanged, where the loss asks for them.
        phrases: of the captions, where the loss asks for them.
    """

    images: ImageTable
    captions: CaptionTable
    caption_ids: list[str]
    left_out: LeftOut = LeftOut()
    swapped: SwappedCaptions | None = None
    phrases: PhraseTable | None = None

    def counts(self) -> dict[str, Any]:
        """Images, captions, and the counts of what is left out."""
        return {
            "images": len(self.images),
            "captions": len(self.captions),
            "left_out": self.left_out.counts(),
        }


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
        """Words and edge types of this split, which must be the training split.

        Raises:
            DataError: as `parsed_captions`.
        """
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
            DataError: as `parsed_captions`.
        """
        tokeniser = make_tokeniser(settings.model.text.encoder)
        parsed = self.parsed_captions()
        cache = choose_cache(settings.train.cache, self.feature_bytes, device)
        images = ImageTable(self.images, cache, device)
        other_ids = self.joined.image_of.items()
        images.row |= {ours: images.row[id_] for ours, id_ in other_ids if id_ in images.row}
        given = parsed, images.row, vocabulary, settings.model.textual_graph.edges, tokeniser
        loss, is_training = settings.loss, self.captions.split == "train"
        return SplitTables(
            images,
            CaptionTable(*given),
            [caption.caption_id for caption in parsed],
            self.left_out,
            SwappedCaptions(*given) if is_training and loss.swap_weight else None,
            PhraseTable(*given) if is_training and loss.phrase_weight else None,
        )

    @cached_property
    def images(self) -> Subset[ImageRegions]:
        """The images that have a region, in order; they are read when they are needed."""
        rows = [row for row in self.joined.images.rows if self.regions.lengths[row]]
        return Subset(self.regions, rows)

    def parsed_captions(self) -> list[ParsedCaption]:
        """The captions of `images`, in order.

        Raises:
            DataError: no caption has an image with regions.
        """
        image_ids = set(self.images.ids)
        rows, owners = self.joined.captions.rows, self._image_of_caption
        kept = [row for row, owner in zip(rows, owners, strict=True) if owner in image_ids]
        if not kept:
            raise DataError(
                f"expected captions of images with regions in split {self.captions.split!r} of "
                f"{self.captions.directory}, got none.\n"
                f"Images with regions: {_examples(self.images.ids)}. "
                f"Images of captions: {_examples(list(dict.fromkeys(owners)))}.\n"
                "Give both the same image ids: extract the regions and parse the captions of the "
                "same manifest. Skipped images are listed in the sidecars, under `failures`."
            )
        return list(Subset(self.captions, kept))

    @cached_property
    def left_out(self) -> LeftOut:
        """The captions whose image has no regions: the detector could not read or skipped it."""
        image_ids = set(self.images.ids)
        pairs = zip(self.joined.captions.ids, self._image_of_caption, strict=True)
        lost = [pair for pair in pairs if pair[1] not in image_ids]
        return LeftOut(
            tuple(caption_id for caption_id, _ in lost),
            tuple(dict.fromkeys(image_id for _, image_id in lost)),
        )

    @cached_property
    def _image_of_caption(self) -> list[str]:
        """Id of each caption's image, as the region shards have it."""
        given, renamed = self.captions.image_ids, self.joined.image_of
        return [renamed.get(given[row], given[row]) for row in self.joined.captions.rows]

    @property
    def feature_bytes(self) -> int:
        """Bytes of all features, nearly: a part of the images counts as that part of the bytes."""
        stored = [sidecar.datasets["features"] for sidecar in self.regions.sidecars]
        total = sum(math.prod(s.shape) * np.dtype(s.dtype).itemsize for s in stored)
        return total * len(self.images) // max(1, len(self.regions))

    def fingerprints(self) -> dict[str, Mapping[str, Any]]:
        """Which detector and parser made the shards: a run stores it and refuses others.

        A stage's inputs are in its fingerprint too, under other names, and are left out here: a run
        may be evaluated on other data of the same detector and parser.
        """
        return {"regions": made_by(self.regions), "captions": made_by(self.captions)}

    def hashes(self) -> dict[str, str]:
        """SHA-256 by file name of each shard, and of what else says what is in the split."""
        sidecars = (*self.regions.sidecars, *self.captions.sidecars)
        hashes = {sidecar.file: sidecar.sha256 for sidecar in sidecars}
        return hashes | {file.name: file_digest(file) for file in self.joined.files}


def made_by(reader: ShardReader[Any]) -> Mapping[str, Any]:
    """Fingerprint of the detector or the parser that made shards."""
    return reader.fingerprint.get("model", reader.fingerprint)


def _examples(ids: list[str]) -> str:
    """The first ids, and how many there are."""
    shown = ", ".join(ids[:EXAMPLES])
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
