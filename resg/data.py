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
from resg.filling import Shape, filled_edges, filled_rows
from resg.graphs.batch import GraphBatch
from resg.graphs.ragged import Layout, gather_groups, group_of_row, lengths, offsets
from resg.graphs.textual import textual_edges
from resg.graphs.visual import Edges
from resg.pieces import PieceTokeniser
from resg.placement import sent
from resg.vocabulary import Vocabulary

TYPES_PER_EDGE = 4
FeatureCache = Literal["device", "ram", "map"]


class DataError(ResgError):
    """Shards that cannot be trained on or evaluated."""


@dataclass(frozen=True)
class ImageBatch:
    """Images of a batch.

    Attributes:
        features: `[R, D]` as stored.
        layout: of the images' regions.
        boxes: `[R, 4]` corners in pixels, or None where the shards have none.
        sizes: `[I, 2]` height and width in pixels, or None.
        relations: `[P, 4]` image, subject, predicate, object, or None.
        edges: visual edges, where they are made already.
    """

    features: Tensor
    layout: Layout
    boxes: Tensor | None = None
    sizes: Tensor | None = None
    relations: Tensor | None = None
    edges: Edges | None = None


@dataclass(frozen=True)
class CaptionBatch:
    """Captions of a batch.

    Attributes:
        words: `[W]` word numbers.
        layout: of the captions' words.
        edges: textual edges with their types.
        image: `[C]` row of each caption's image in the batch's images.
        pieces: `[C, P]` piece numbers for a Hugging Face encoder, or None.
        word_of_piece: `[C, P]` row of each piece's word in `words`; -1 for special pieces and where
            filled up (there `pieces` is -1 too).
    """

    words: Tensor
    layout: Layout
    edges: Edges
    image: Tensor
    pieces: Tensor | None = None
    word_of_piece: Tensor | None = None


@dataclass(frozen=True)
class PairBatch:
    """A batch of training pairs, or one process's share of it.

    Attributes:
        place: which batch of the epoch it is, from 1.
        numbers: captions of the whole batch by number.
        image_rows: `[B]` row of each one's image in the table.
        images: of this process, one a caption.
        captions: of this process.
    """

    place: int
    numbers: list[int]
    image_rows: Tensor
    images: ImageBatch
    captions: CaptionBatch


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
        self.num_words = torch.tensor(word_counts)
        self.word_ptr = offsets(self.num_words)
        self.edge_places = torch.tensor(edges, dtype=torch.int32).reshape(-1, 2)
        self.edge_types = torch.tensor(types, dtype=torch.int32).reshape(-1, TYPES_PER_EDGE)
        self.edge_ptr = offsets(torch.tensor(edge_counts))
        self.image = torch.tensor(images)
        self.pieces = None if tokeniser is None else tokeniser.split(forms)

    def __len__(self) -> int:
        return len(self.image)

    @property
    def num_edges(self) -> Tensor:
        """`[C]` edges of each caption."""
        return lengths(self.edge_ptr)

    def batch(self, numbers: Tensor, image: Tensor, fill: Shape | None = None) -> CaptionBatch:
        """Captions by number.

        Args:
            numbers: on the host.
            image: the row of each one's image in the batch.
            fill: the shape that the batch is filled up to; the GRU reads such captions, a Hugging
                Face encoder does not.
        """
        word_rows, ptr = gather_groups(self.word_ptr, numbers)
        edge_rows, edge_ptr = gather_groups(self.edge_ptr, numbers)
        owner = group_of_row(edge_ptr, len(edge_rows))
        ends = self.edge_places[edge_rows].long()
        words, types = self.words[word_rows].long(), self.edge_types[edge_rows].long()
        if fill is not None:
            layout = Layout.filled(lengths(ptr).numpy(), fill.words, fill.device)
            ends = ends + fill.words * owner[:, None]
            return CaptionBatch(*_filled(words, layout, ends, types, fill.edges), image)
        target, source = (ends + ptr[owner][:, None]).T.contiguous()
        layout = Layout.of(ptr)
        graph = GraphBatch.from_sorted_edges(
            ptr, target, source, num_nodes=layout.num_rows, max_nodes=layout.longest
        )
        batch = CaptionBatch(words, layout, Edges(graph, types), image)
        if self.pieces is None:
            return batch
        piece_rows, piece_ptr = gather_groups(self.pieces.ptr, numbers)
        word = self.pieces.word[piece_rows]
        pieces = Layout.of(piece_ptr)
        first_word = ptr[pieces.group]
        return replace(
            batch,
            pieces=pieces.pad(self.pieces.numbers[piece_rows], value=-1),
            word_of_piece=pieces.pad(torch.where(word < 0, -1, word + first_word), value=-1),
        )


def _filled(
    words: Tensor, layout: Layout, ends_E2: Tensor, types_EK: Tensor, num_edges: int
) -> tuple[Tensor, Layout, Edges]:
    """Words, their layout and edges, filled up; the ends are rows of the layout already."""
    own = layout.valid_rows
    assert own is not None, "every caption has a word that fills it up"
    filled_words = words.new_zeros(layout.num_rows).index_copy(0, own, words)
    filling = torch.ones(layout.num_rows, dtype=torch.bool).index_fill(0, own, False).nonzero()
    target, source = ends_E2.numpy().T
    found = filled_edges(target, source, filling.numpy()[:, 0], layout.longest, num_edges)
    targets, sources, place = (torch.from_numpy(array) for array in found)
    graph = GraphBatch.from_sorted_edges(
        torch.from_numpy(layout.host_ptr),
        targets,
        sources,
        num_nodes=layout.num_rows,
        max_nodes=layout.longest,
    )
    types = types_EK.new_zeros((num_edges, types_EK.shape[1])).index_copy(0, place, types_EK)
    return filled_words, layout, Edges(replace(graph, node_ptr=layout.ptr), types)


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

    def batch(
        self,
        rows: Tensor,
        drop: float = 0.0,
        random: torch.Generator | None = None,
        fill: Shape | None = None,
    ) -> ImageBatch:
        """Images by row.

        Args:
            rows: on the host.
            drop: share of the regions that are left out at random, and their relations with them;
                every image keeps its first one.
            random: for dropping.
            fill: the shape that the batch is filled up to, which has no relations.
        """
        region_rows, ptr = gather_groups(self.ptr, rows)
        chosen: Tensor | None = None  # of the regions of all these images; None for all
        relations = self._relations(rows)
        if drop:
            is_kept = kept_regions(ptr, drop, random)
            relations = kept_relations(relations, ptr, is_kept)
            chosen = is_kept.nonzero()[:, 0]
            ptr = offsets(is_kept)[ptr]
        if fill is not None:
            layout = Layout.filled(lengths(ptr).numpy(), fill.regions, fill.device)
            if layout.valid_rows is not None:
                filled = torch.from_numpy(filled_rows(ptr.numpy(), fill.regions))
                chosen = filled if chosen is None else chosen[filled]
        else:
            layout = Layout.of(ptr)
        if chosen is not None:
            region_rows = region_rows[chosen]
        return ImageBatch(
            features=self._features(rows, region_rows, chosen),
            layout=layout,
            boxes=None if self.boxes is None else self.boxes[region_rows],
            sizes=None if self.sizes is None else self.sizes[rows],
            relations=relations if fill is None else None,
        )

    def _relations(self, rows: Tensor) -> Tensor:
        """`[P, 4]` relations of images: row in the batch, subject, predicate, object."""
        relation_rows, ptr = gather_groups(self.relation_ptr, rows)
        owner = group_of_row(ptr, len(relation_rows))
        return torch.cat([owner[:, None], self.relations[relation_rows]], dim=1)

    def _features(self, rows: Tensor, region_rows: Tensor, chosen: Tensor | None) -> Tensor:
        if self.features is not None:
            return self.features.index_select(0, sent(region_rows, self.features.device))
        parts = [self.images[row].features for row in rows.tolist()]
        features = torch.from_numpy(np.concatenate(parts))
        return features if chosen is None else features[chosen]


def kept_regions(ptr: Tensor, drop: float, random: torch.Generator | None) -> Tensor:
    """`[R]` which regions are kept where a share is dropped at random."""
    is_kept = torch.rand(int(ptr[-1]), generator=random) >= drop
    is_kept[ptr[:-1][ptr.diff() > 0]] = True  # the first one of each image, by score
    return is_kept


def kept_relations(relations: Tensor, ptr: Tensor, is_kept: Tensor) -> Tensor:
    """Those of `[P, 4]` relations whose two regions are kept, regions counted anew."""
    image = relations[:, 0]
    ends = ptr[image][:, None] + relations[:, [1, 3]]
    before = offsets(is_kept)
    new_ends = before[ends] - before[ptr[image]][:, None]
    kept = torch.stack([image, new_ends[:, 0], relations[:, 2], new_ends[:, 1]], 1)
    return kept[is_kept[ends].all(1)]


def drop_words(captions: CaptionBatch, share: float, random: torch.Generator) -> CaptionBatch:
    """Make a share of the words unknown at random (pieces of a Hugging Face encoder stay)."""
    if not share:
        return captions
    own = captions.layout.valid_rows
    is_dropped = torch.rand(captions.layout.num_valid_rows, generator=random) < share
    rows = is_dropped.nonzero()[:, 0] if own is None else own[is_dropped]
    return replace(captions, words=captions.words.index_fill(0, rows, 0))
