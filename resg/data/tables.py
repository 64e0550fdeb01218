"""Images and captions of a split as flat tables, and batches gathered from them.

I images, C captions, R regions and W words of a batch, D feature width, E edges, K types an edge.
Captions are turned into indices once at the start; a batch is a few gathers, with no Python per
item.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.shards.records import ImageRegions, ParsedCaption
from resg.data.batches import CaptionBatch, ImageBatch, SwappedBatch
from resg.data.subwords import SubwordTokeniser
from resg.data.swapping import swapped_caption
from resg.data.vocabulary import END, START, Vocabulary
from resg.errors import ResgError
from resg.graphs.batch import GraphBatch
from resg.graphs.ragged import Layout, gather_groups, group_of_row, lengths, offsets
from resg.graphs.textual import textual_edges
from resg.graphs.visual import Edges
from resg.transfer import copy_async

TYPES_PER_EDGE = 4
FeatureCache = Literal["device", "ram", "map"]


class DataError(ResgError):
    """Shards that cannot be trained on or evaluated."""


class CaptionTable:
    """Captions of a split: word indices and typed edges in flat tensors.

    Args:
        captions: the parsed captions.
        image_row: image id to its row in the image table.
        vocabulary: words and edge types of the run.
        kinds: which textual edges are built.
        tokeniser: splits words into subwords for a Hugging Face encoder; None for the GRU.

    Raises:
        DataError: there is no caption, or a caption's image has no regions.
    """

    def __init__(
        self,
        captions: Sequence[ParsedCaption],
        image_row: dict[str, int],
        vocabulary: Vocabulary,
        kinds: tuple[str, ...],
        tokeniser: SubwordTokeniser | None = None,
    ) -> None:
        if not len(captions):
            raise DataError("expected captions, got none. Check --split and --shards.")
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
            own_words = _with_boundaries(caption.forms, vocabulary)
            words += [vocabulary.word_index.get(form.lower(), 0) for form in own_words]
            word_counts.append(len(own_words))
            own = textual_edges(caption, kinds)
            first = int(vocabulary.has_boundaries)
            edges += [(target + first, source + first) for target, source in own]
            types += [_type_indices(names, vocabulary) for names in own.values()]
            edge_counts.append(len(own))
        self.words = torch.tensor(words, dtype=torch.int32)
        self.num_words = torch.tensor(word_counts)
        self.word_ptr = offsets(self.num_words)
        self.edge_ends = torch.tensor(edges, dtype=torch.int32).reshape(-1, 2)
        self.edge_types = torch.tensor(types, dtype=torch.int32).reshape(-1, TYPES_PER_EDGE)
        self.edge_ptr = offsets(torch.tensor(edge_counts))
        self.image = torch.tensor(images)
        self.subwords = None if tokeniser is None else tokeniser.split(forms)

    def __len__(self) -> int:
        return len(self.image)

    @property
    def num_edges(self) -> Tensor:
        """`[C]` edges of each caption."""
        return lengths(self.edge_ptr)

    def batch(self, rows: Tensor, image: Tensor) -> CaptionBatch:
        """Captions by row.

        Args:
            rows: on the host.
            image: `[C]` the row of each one's image in the batch.
        """
        word_rows, ptr = gather_groups(self.word_ptr, rows)
        edge_rows, edge_ptr = gather_groups(self.edge_ptr, rows)
        owner = group_of_row(edge_ptr, len(edge_rows))
        ends = self.edge_ends[edge_rows].long()
        target, source = (ends + ptr[owner][:, None]).T.contiguous()
        layout = Layout.of(ptr)
        graph = GraphBatch.from_sorted_edges(
            ptr, target, source, num_nodes=layout.num_rows, max_nodes=layout.longest
        )
        batch = CaptionBatch(
            words=self.words[word_rows].long(),
            layout=layout,
            edges=Edges(graph, self.edge_types[edge_rows].long()),
            image=image,
        )
        return batch if self.subwords is None else self._with_subwords(batch, rows)

    def _with_subwords(self, batch: CaptionBatch, rows: Tensor) -> CaptionBatch:
        assert self.subwords is not None, "called for a Hugging Face encoder alone"
        subword_rows, ptr = gather_groups(self.subwords.ptr, rows)
        word = self.subwords.word[subword_rows]
        layout = Layout.of(ptr)
        first_word = batch.layout.ptr[layout.group]
        return replace(
            batch,
            subwords=layout.pad(self.subwords.ids[subword_rows], value=-1),
            word_of_subword=layout.pad(torch.where(word < 0, -1, word + first_word), value=-1),
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


def _with_boundaries(forms: tuple[str, ...], vocabulary: Vocabulary) -> tuple[str, ...]:
    return (START, *forms, END) if vocabulary.has_boundaries else forms


def _type_indices(names: list[str], vocabulary: Vocabulary) -> list[int]:
    """Indices of an edge's types, the most frequent first, padded with 0."""
    indices = sorted(vocabulary.edge_type_index.get(name, 0) for name in names)
    known = [index for index in indices if index][:TYPES_PER_EDGE]
    return known + [0] * (TYPES_PER_EDGE - len(known))


class SwappedCaptions:
    """Captions of a split beside the same with subject and object exchanged (`data.swapping`).

    Args:
        captions: the parsed captions of the split, in the order of its table.
        image_row: as of `CaptionTable`, and so the other arguments.
    """

    def __init__(
        self,
        captions: Sequence[ParsedCaption],
        image_row: dict[str, int],
        vocabulary: Vocabulary,
        kinds: tuple[str, ...],
        tokeniser: SubwordTokeniser | None = None,
    ) -> None:
        found = [(row, swapped_caption(caption)) for row, caption in enumerate(captions)]
        pairs = [
            caption
            for row, swapped in found
            if swapped is not None
            for caption in (captions[row], swapped)
        ]
        has_swap_C = torch.tensor([swapped is not None for _, swapped in found])
        self.has_swap = has_swap_C
        self.first = 2 * (has_swap_C.cumsum(0) - 1)
        self.table = CaptionTable(pairs, image_row, vocabulary, kinds, tokeniser) if pairs else None

    def batch(self, shares: Sequence[Tensor], rank: int, most: int) -> SwappedBatch | None:
        """Those captions of a process's share that are among the first `most` with a relation.

        None where it has none of them.

        Args:
            shares: the captions of each process; together they are the batch.
            rank: of the process.
            most: exchanged captions of the whole batch, so that the loss does not depend on how
                many processes there are.
        """
        chosen = self.has_swap[torch.cat(tuple(shares))].nonzero()[:most, 0]
        start = sum(len(share) for share in shares[:rank])
        places = chosen[(chosen >= start) & (chosen < start + len(shares[rank]))] - start
        if self.table is None or not len(places):
            return None
        first = self.first[shares[rank][places]]
        captions = self.table.batch(torch.cat([first, first + 1]), places.repeat(2))
        return SwappedBatch(captions, places, len(places) / len(chosen))


class ImageTable:
    """Images of a split: features where the cache keeps them, everything else in RAM.

    Args:
        images: a reader of region shards, or a list of regions.
        cache: `device` and `ram` copy all features there, `map` reads them when they are needed.
        device: where batches go.

    Raises:
        DataError: there is no image, or the feature widths differ.
    """

    def __init__(
        self, images: Sequence[ImageRegions], cache: FeatureCache, device: torch.device
    ) -> None:
        if not len(images):
            raise DataError("expected images, got none. Check --split and --shards.")
        self.images = images
        self.ids: list[str] = []
        counts, sizes, boxes, relations, relation_counts = [], [], [], [], []
        widths: set[int] = set()
        for image in images:
            self.ids.append(image.image_id)
            counts.append(len(image.features))
            widths.add(image.features.shape[1])
            sizes.append(image.image_size)
            # Copies: a view would keep its shard's memory map, and its file descriptor, open.
            boxes.append(None if image.boxes is None else np.array(image.boxes))
            found = np.zeros((0, 3), np.int32) if image.relations is None else image.relations
            relations.append(np.array(found))
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
        self, rows: Tensor, drop: float = 0.0, random: torch.Generator | None = None
    ) -> ImageBatch:
        """Images by row.

        Args:
            rows: on the host.
            drop: share of the regions that are left out at random, and their relations with them;
                every image keeps its first one.
            random: for dropping.
        """
        region_rows, ptr = gather_groups(self.ptr, rows)
        kept: Tensor | None = None  # of the regions of all these images; None for all
        relations = self._relations(rows)
        if drop:
            is_kept = kept_regions(ptr, drop, random)
            relations = kept_relations(relations, ptr, is_kept)
            kept = is_kept.nonzero()[:, 0]
            ptr = offsets(is_kept)[ptr]
            region_rows = region_rows[kept]
        return ImageBatch(
            features=self._features(rows, region_rows, kept),
            layout=Layout.of(ptr),
            boxes=None if self.boxes is None else self.boxes[region_rows],
            sizes=None if self.sizes is None else self.sizes[rows],
            relations=relations,
        )

    def feature_batches(self, size: int = 256) -> Iterator[Tensor]:
        """The features of all images, `size` images at a time."""
        for rows in torch.arange(len(self)).split(size):
            yield self.batch(rows).features

    def _relations(self, rows: Tensor) -> Tensor:
        """`[P, 4]` relations of images: row in the batch, subject, predicate, object."""
        relation_rows, ptr = gather_groups(self.relation_ptr, rows)
        owner = group_of_row(ptr, len(relation_rows))
        return torch.cat([owner[:, None], self.relations[relation_rows]], dim=1)

    def _features(self, rows: Tensor, region_rows: Tensor, kept: Tensor | None) -> Tensor:
        if self.features is not None:
            return self.features.index_select(0, copy_async(region_rows, self.features.device))
        features = torch.from_numpy(self._mapped_features(rows))
        return features if kept is None else features[kept]

    def _mapped_features(self, rows: Tensor) -> NDArray[Any]:
        """`[R, D]` features of images, copied one by one so that no memory map stays open."""
        num_regions = int((self.ptr[rows + 1] - self.ptr[rows]).sum())
        first = self.images[int(rows[0])].features
        features = np.empty((num_regions, self.feature_width), first.dtype)
        start = 0
        for row in rows.tolist():
            own = self.images[row].features
            features[start : start + len(own)] = own
            start += len(own)
        return features


def kept_regions(ptr: Tensor, drop: float, random: torch.Generator | None) -> Tensor:
    """`[R]` bool: which regions are kept when a share is dropped at random."""
    is_kept = torch.rand(int(ptr[-1]), generator=random) >= drop
    is_kept[ptr[:-1][ptr.diff() > 0]] = True  # the first one of each image, by score
    return is_kept


def kept_relations(relations: Tensor, ptr: Tensor, is_kept: Tensor) -> Tensor:
    """Those of `[P, 4]` relations whose two regions are kept, with regions renumbered."""
    image = relations[:, 0]
    ends = ptr[image][:, None] + relations[:, [1, 3]]
    before = offsets(is_kept)
    new_ends = before[ends] - before[ptr[image]][:, None]
    kept = torch.stack([image, new_ends[:, 0], relations[:, 2], new_ends[:, 1]], 1)
    return kept[is_kept[ends].all(1)]
