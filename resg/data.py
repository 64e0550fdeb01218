"""Images and captions of a split as flat tables, and batches gathered from them.

I images, C captions, R regions and W words of a batch, D feature width, E edges, K types an edge.
Captions are encoded once at the start; a batch is a few gathers, with no Python per item.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from pipeline.shards.records import ImageRegions, ParsedCaption
from resg.errors import ResgError
from resg.graphs.batch import GraphBatch
from resg.graphs.ragged import gather_groups, group_of_row, offsets, pad
from resg.graphs.textual import textual_edges
from resg.graphs.visual import Edges
from resg.pieces import PieceTokeniser
from resg.vocabulary import Vocabulary

TYPES_PER_EDGE = 4
FeatureCache = Literal["device", "ram", "map"]


class DataError(ResgError):
    """Shards that cannot be trained on or evaluated."""

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class ImageBatch:
    """Images of a batch.

    Attributes:
        features: `[R, D]` as stored.
        ptr: `[I+1]` offsets of the images' regions.
        boxes: `[R, 4]` corners in pixels, or None where the shards have none.
        sizes: `[I, 2]` height and width in pixels, or None.
        relations: `[P, 4]` image, subject, predicate, object, or None.
    """

    features: Tensor
    ptr: Tensor
    boxes: Tensor | None = None
    sizes: Tensor | None = None
    relations: Tensor | None = None

    def to(self, device: torch.device) -> "ImageBatch":
        """The same on a device."""
        return replace(self, **_moved(self, device))


@dataclass(frozen=True)
class CaptionBatch:
    """Captions of a batch.

    Attributes:
        words: `[W]` word numbers.
        ptr: `[C+1]` offsets of the captions' words.
        edges: textual edges with their types.
        image: `[C]` row of each caption's image in the batch's images.
        pieces: `[C, P]` piece numbers for a Hugging Face encoder, or None.
        word_of_piece: `[C, P]` row of each piece's word in `words`; -1 for special pieces and where
            filled up (there `pieces` is -1 too).
    """

    words: Tensor
    ptr: Tensor
    edges: Edges
    image: Tensor
    pieces: Tensor | None = None
    word_of_piece: Tensor | None = None

    def to(self, device: torch.device) -> "CaptionBatch":
        """The same on a device."""
        edges = Edges(self.edges.graph.to(device), self.edges.types.to(device))
        return replace(self, **_moved(self, device), edges=edges)


def _moved(batch: ImageBatch | CaptionBatch, device: torch.device) -> dict[str, Tensor]:
    return {
        name: value.to(device, non_blocking=True)
        for name, value in vars(batch).items()
        if isinstance(value, Tensor)
    }


class CaptionTable:
    """Captions of a split, encoded: word numbers and typed edges in flat tensors.

    Args:
        captions: the parsed captions.
        image_row: image id to its row in the image table.
        vocabulary: words and edge types of the run.
        kinds: which textual edges are built.
        tokeniser: splits words into pieces for a Hugging Face encoder; None for the GRU.

    Raises:
        DataError: there is no caption, or a caption's image has no regions.
    """

    def __init__(
        self,
        captions: Sequence[ParsedCaption],
        image_row: dict[str, int],
        vocabulary: Vocabulary,
        kinds: tuple[str, ...],
        tokeniser: PieceTokeniser | None = None,
    ) -> None:
        if not len(captions):
            raise DataError(
                "expected captions in this split, got none. Check --split and --shards."
            )
        words: list[int] = []
        word_counts: list[int] = []
        edges: list[tuple[int, int]] = []
        types: list[list[int]] = []
        edge_counts: list[int] = []
        forms: list[tuple[str, ...]] = []
        images: list[int] = []
        for caption in captions:
            images.append(_row_of(caption, image_row))
            forms.append(caption.forms)
            words += [vocabulary.word_number.get(form.lower(), 0) for form in caption.forms]
            word_counts.append(len(caption.forms))
            own = textual_edges(caption, kinds)
            edges += own
            types += [_type_numbers(names, vocabulary) for names in own.values()]
            edge_counts.append(len(own))
        self.words = torch.tensor(words, dtype=torch.int32)
        self.word_ptr = offsets(torch.tensor(word_counts))
        self.edge_places = torch.tensor(edges, dtype=torch.int32).reshape(-1, 2)
        self.edge_types = torch.tensor(types, dtype=torch.int32).reshape(-1, TYPES_PER_EDGE)
        self.edge_ptr = offsets(torch.tensor(edge_counts))
        self.image = torch.tensor(images)
        self.pieces = None if tokeniser is None else tokeniser.split(forms)

    def __len__(self) -> int:
        return len(self.image)

    def batch(self, numbers: Tensor, image: Tensor) -> CaptionBatch:
        """Captions by number; `image` is the row of each one's image in the batch."""
        word_rows, ptr = gather_groups(self.word_ptr, numbers)
        edge_rows, edge_ptr = gather_groups(self.edge_ptr, numbers)
        shift = ptr[group_of_row(edge_ptr, len(edge_rows))]
        target, source = self.edge_places[edge_rows].long().unbind(1)
        graph = GraphBatch.from_sorted_edges(ptr, target + shift, source + shift)
        edges = Edges(graph, self.edge_types[edge_rows].long())
        batch = CaptionBatch(self.words[word_rows].long(), ptr, edges, image)
        if self.pieces is None:
            return batch
        piece_rows, piece_ptr = gather_groups(self.pieces.ptr, numbers)
        word = self.pieces.word[piece_rows]
        first_word = ptr[group_of_row(piece_ptr, len(piece_rows))]
        return replace(
            batch,
            pieces=pad(self.pieces.numbers[piece_rows], piece_ptr, value=-1)[0],
            word_of_piece=pad(torch.where(word < 0, -1, word + first_word), piece_ptr, value=-1)[0],
        )


def _row_of(caption: ParsedCaption, image_row: dict[str, int]) -> int:
    row = image_row.get(caption.image_id)
    if row is None:
        raise DataError(
            f"expected regions for every caption, got none of image {caption.image_id!r} "
            f"(caption {caption.caption_id!r}). Are regions and captions of the same data? "
            "`pipeline verify` lists all such captions."
        )
    return row


def _type_numbers(names: list[str], vocabulary: Vocabulary) -> list[int]:
    """Numbers of an edge's types, the most frequent first, filled up with 0."""
    numbers = sorted(vocabulary.edge_type_number.get(name, 0) for name in names)
    known = [number for number in numbers if number][:TYPES_PER_EDGE]
    return known + [0] * (TYPES_PER_EDGE - len(known))


class ImageTable:
    """Images of a split: features where the cache keeps them, all else in RAM.

    Args:
        images: a reader of region shards, or a list of regions.
        cache: `device` and `ram` copy all features there, `map` reads them as they are asked for.
        device: where batches go.

    Raises:
        DataError: there is no image, or the feature widths differ.
    """

    def __init__(
        self, images: Sequence[ImageRegions], cache: FeatureCache, device: torch.device
    ) -> None:
        if not len(images):
            raise DataError("expected images in this split, got none. Check --split and --shards.")
        self.images = images
        self.ids: list[str] = []
        counts, sizes, boxes, relations, relation_counts = [], [], [], [], []
        widths: set[int] = set()
        for image in images:
            self.ids.append(image.image_id)
            counts.append(len(image.features))
            widths.add(image.features.shape[1])
            sizes.append(image.image_size)
            boxes.append(image.boxes)
            found = image.relations if image.relations is not None else np.zeros((0, 3), np.int32)
            relations.append(found)
            relation_counts.append(len(found))
        if len(widths) > 1:
            raise DataError(f"expected one feature width, got {sorted(widths)}.")
        self.feature_width = widths.pop()
        self.row = {image_id: row for row, image_id in enumerate(self.ids)}
        self.ptr = offsets(torch.tensor(counts))
        has_boxes = all(b is not None for b in boxes) and all(s is not None for s in sizes)
        self.boxes = torch.from_numpy(np.concatenate(boxes)) if has_boxes else None
        self.sizes = torch.tensor(sizes) if has_boxes else None
        self.relations = torch.from_numpy(np.concatenate(relations).astype(np.int64))
        self.relation_ptr = offsets(torch.tensor(relation_counts))
        self.features = (
            None if cache == "map" else self._load(device if cache == "device" else None)
        )

    def __len__(self) -> int:
        return len(self.ids)

    def _load(self, device: torch.device | None) -> Tensor:
        first = torch.from_numpy(np.array(self.images[0].features))
        shape = (int(self.ptr[-1]), self.feature_width)
        features = torch.empty(shape, dtype=first.dtype, device=device)
        for row, image in enumerate(self.images):
            start, end = int(self.ptr[row]), int(self.ptr[row + 1])
            features[start:end] = torch.from_numpy(np.array(image.features))
        return features

    def batch(self, rows: Tensor) -> ImageBatch:
        """Images by row."""
        region_rows, ptr = gather_groups(self.ptr, rows)
        relation_rows, relation_ptr = gather_groups(self.relation_ptr, rows)
        owner = group_of_row(relation_ptr, len(relation_rows))
        return ImageBatch(
            features=self._features(rows, region_rows),
            ptr=ptr,
            boxes=None if self.boxes is None else self.boxes[region_rows],
            sizes=None if self.sizes is None else self.sizes[rows],
            relations=torch.cat([owner[:, None], self.relations[relation_rows]], dim=1),
        )

    def _features(self, rows: Tensor, region_rows: Tensor) -> Tensor:
        if self.features is not None:
            return self.features[region_rows.to(self.features.device)]
        parts = [self.images[row].features for row in rows.tolist()]
        return torch.from_numpy(np.concatenate(parts))


def drop_regions(images: ImageBatch, share: float) -> ImageBatch:
    """Leave out a share of the regions at random; every image keeps at least one.

    Relations of dropped regions go too.
    """
    if not share:
        return images
    num_regions = len(images.features)
    is_kept = torch.rand(num_regions, device=images.features.device) >= share
    counts = images.ptr.diff()
    is_kept[images.ptr[:-1][counts > 0]] = True  # the first one, by score
    new_counts = torch.segment_reduce(is_kept.float(), "sum", lengths=counts).long()
    relations = images.relations
    if relations is not None:
        place = is_kept.cumsum(0) - 1
        new_ptr = offsets(new_counts)
        first, image = images.ptr[relations[:, 0]], relations[:, 0]
        ends = first[:, None] + relations[:, [1, 3]]
        new_ends = place[ends] - new_ptr[image][:, None]
        relations = torch.stack([image, new_ends[:, 0], relations[:, 2], new_ends[:, 1]], 1)
        relations = relations[is_kept[ends].all(1)]
    return replace(
        images,
        features=images.features[is_kept],
        ptr=offsets(new_counts),
        boxes=None if images.boxes is None else images.boxes[is_kept],
        relations=relations,
    )


def drop_words(captions: CaptionBatch, share: float) -> CaptionBatch:
    """Make a share of the words unknown at random (pieces of a Hugging Face encoder stay)."""
    if not share:
        return captions
    is_dropped = torch.rand(len(captions.words), device=captions.words.device) < share
    return replace(captions, words=captions.words.masked_fill(is_dropped, 0))
