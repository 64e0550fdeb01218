"""Buckets: batches padded to a few static shapes, as CUDA graphs need them.

N pairs, L rows of each padded group, M = N L rows, E edges. Images are padded at their ends with
regions, captions with words, and the edges of a batch of captions with edges into its padding
words. No result for a valid row depends on the padding.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resg.data.batches import CaptionBatch, ImageBatch
from resg.graphs.batch import MASK_NODES, GraphBatch
from resg.graphs.ragged import Layout
from resg.graphs.visual import Edges
from resg.transfer import copy_async

WORD_STEP = 8  # captions are padded to multiples of it: few shapes, and little padding
EDGE_STEP = 64
DEVIATIONS = 6  # of a random batch's edges: next to no batch has more

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class BucketShape:
    """Static shape of a padded batch.

    Attributes:
        regions: of each image.
        words: of each caption.
        edges: of all captions of the batch.
    """

    regions: int
    words: int
    edges: int


@dataclass(frozen=True)
class Buckets:
    """Which batches of a split can be padded, and to which shapes.

    Attributes:
        num_pairs: N, of every padded batch.
        regions: of each image.
        edges: of all captions of a batch.
        device: where batches are used.
    """

    num_pairs: int
    regions: int
    edges: int
    device: torch.device

    @classmethod
    def of(
        cls, num_pairs: int, num_regions: Tensor, num_edges: Tensor, device: torch.device
    ) -> "Buckets | None":
        """The buckets of a split, or None where its images cannot be padded.

        Args:
            num_pairs: N.
            num_regions: of each image, on the host.
            num_edges: of each caption.
            device: where batches are used.
        """
        if int(num_regions.min()) < 1 or int(num_regions.max()) > MASK_NODES:
            return None
        edges = num_edges.double()
        spread = float(edges.std(correction=0)) * num_pairs**0.5
        most = num_pairs * float(edges.mean()) + DEVIATIONS * spread
        return cls(num_pairs, int(num_regions.max()), _multiple(int(most) + 1, EDGE_STEP), device)

    def shape(self, captions: CaptionBatch) -> BucketShape | None:
        """The shape that a batch with these captions is padded to; None where it does not fit."""
        num_words, num_edges = np.diff(captions.layout.host_ptr), captions.edges.graph.num_edges
        if len(num_words) != self.num_pairs or num_edges > self.edges:
            return None
        longest = _multiple(int(num_words.max()) + 1, WORD_STEP)  # every caption gets padding
        room = (len(num_words) * longest - int(num_words.sum())) * longest
        if longest > MASK_NODES or num_edges + room < self.edges:
            return None
        return BucketShape(self.regions, longest, self.edges)

    def pad(
        self, images: ImageBatch, captions: CaptionBatch
    ) -> tuple[ImageBatch, CaptionBatch] | None:
        """Both sides of a batch of pairs in the shape of its bucket; None where they do not fit.

        Both are on the host, where features may be on the device already. The relations of the
        images are left out.
        """
        shape = self.shape(captions)
        if shape is None:
            return None
        return (
            pad_images(images, shape.regions, self.device),
            pad_captions(captions, shape.words, shape.edges, self.device),
        )


def pad_images(images: ImageBatch, longest: int, device: torch.device) -> ImageBatch:
    """Images of `longest` regions each: the last region of an image is repeated."""
    ptr = images.layout.host_ptr
    layout = Layout.padded(np.diff(ptr), longest, device)
    padded = replace(images, layout=layout, relations=None)
    if layout.valid_rows is None:
        return padded
    rows = torch.from_numpy(padding_rows(ptr, longest))
    features, boxes = images.features, images.boxes
    return replace(
        padded,
        features=features.index_select(0, copy_async(rows, features.device)),
        boxes=None if boxes is None else boxes[rows],
    )


def pad_captions(
    captions: CaptionBatch, longest: int, num_edges: int, device: torch.device
) -> CaptionBatch:
    """Captions of `longest` words each, which have `num_edges` edges together.

    Padding words are unknown ones, and padding edges have no type.
    """
    ptr = captions.layout.host_ptr
    layout = Layout.padded(np.diff(ptr), longest, device)
    valid = layout.valid_rows
    assert valid is not None, "every caption gets padding"
    is_padding = np.ones(layout.num_rows, bool)
    is_padding[valid.numpy()] = False
    graph, types = captions.edges.graph, captions.edges.types
    found = pad_edges(
        valid.numpy()[graph.targets.numpy()],
        valid.numpy()[graph.indices.numpy()],
        np.flatnonzero(is_padding),
        longest,
        num_edges,
    )
    targets, sources, place = (torch.from_numpy(array) for array in found)
    padded_graph = GraphBatch.from_sorted_edges(
        torch.from_numpy(layout.host_ptr),
        targets,
        sources,
        num_nodes=layout.num_rows,
        max_nodes=layout.longest,
    )
    edges = Edges(
        replace(padded_graph, node_ptr=layout.ptr),
        types.new_zeros((num_edges, types.shape[1])).index_copy(0, place, types),
    )
    words = captions.words.new_zeros(layout.num_rows).index_copy(0, valid, captions.words)
    return replace(captions, words=words, layout=layout, edges=edges)


def pad_edges(
    targets: Ints, sources: Ints, padding: Ints, longest: int, total: int
) -> tuple[Ints, Ints, Ints]:
    """Edges sorted by (target, source), and more of them into padding rows.

    Args:
        targets: `[E']`, among rows of groups that have `longest` each.
        sources: `[E']`.
        padding: padding rows, the last row of all among them; no edge has one yet.
        longest: L.
        total: E, at least E', and at most L more for each padding row.

    Returns:
        `[E]` targets and sources, and `[E']` the index of each given edge among them.
    """
    num_rows = int(padding[-1]) + 1
    full, rest = divmod(total - len(targets), longest)
    degrees = np.bincount(targets, minlength=num_rows)
    valid_before = degrees.cumsum() - degrees
    degrees[padding[:full]] = longest
    if rest:
        degrees[padding[full]] = rest
    before = degrees.cumsum() - degrees
    all_targets = np.repeat(np.arange(num_rows), degrees)
    all_sources = (
        np.arange(total) + (np.arange(num_rows) // longest * longest - before)[all_targets]
    )
    place = np.arange(len(targets)) + (before - valid_before)[targets]
    all_sources[place] = sources
    return all_targets, all_sources, place


def padding_rows(ptr: Ints, longest: int) -> Ints:
    """`[N * L]` rows of groups with these `[N+1]` offsets, the last one of each repeated."""
    within = np.minimum(np.arange(longest), np.diff(ptr)[:, None] - 1)
    return (ptr[:-1, None] + within).ravel()


def _multiple(number: int, step: int) -> int:
    """The least multiple of the step that is not below the number."""
    return -(-number // step) * step
