"""To which shape are batches filled up, so that many of them have the same one?

N pairs, L rows a group, M = N L rows, E edges.  A CUDA graph repeats its launches for one shape
alone. Images are filled up at their ends by regions, captions by words, and the edges of a batch of
captions by edges into its filling words: nothing that counts depends on them.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resg.graphs.batch import MASK_NODES

WORD_STEP = 8  # captions are filled up to multiples of it: few shapes, and few words for nothing
EDGE_STEP = 64
DEVIATIONS = 6  # of a random batch's edges: next to no batch has more

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Shape:
    """What a batch is filled up to.

    Attributes:
        regions: an image.
        words: a caption.
        edges: all captions of the batch.
        device: where batches are used.
    """

    regions: int
    words: int
    edges: int
    device: torch.device


@dataclass(frozen=True)
class Capacity:
    """Which batches of a split can be filled up, and to which shape.

    Attributes:
        num_pairs: N, of every batch that is filled up.
        regions: an image.
        edges: all captions of a batch.
        num_words: `[C]` of each caption of the split.
        num_edges: `[C]`.
        device: where batches are used.
    """

    num_pairs: int
    regions: int
    edges: int
    num_words: Ints
    num_edges: Ints
    device: torch.device

    @classmethod
    def of(
        cls,
        num_pairs: int,
        num_regions: Tensor,
        num_words: Tensor,
        num_edges: Tensor,
        device: torch.device,
    ) -> "Capacity | None":
        """The capacity for a split, or None where its images cannot be filled up.

        Args:
            num_pairs: N.
            num_regions: of each image, on the host.
            num_words: of each caption.
            num_edges: of each caption.
            device: where batches are used.
        """
        if int(num_regions.min()) < 1 or int(num_regions.max()) > MASK_NODES:
            return None
        edges = num_edges.double()
        spread = float(edges.std(correction=0)) * num_pairs**0.5
        most = num_pairs * float(edges.mean()) + DEVIATIONS * spread
        return cls(
            num_pairs,
            int(num_regions.max()),
            _multiple(int(most) + 1, EDGE_STEP),
            num_words.numpy(),
            num_edges.numpy(),
            device,
        )

    def shape(self, captions: Tensor) -> Shape | None:
        """What a batch of these captions is filled up to; None where it does not fit."""
        words, num_edges = self.num_words[captions.numpy()], self.num_edges[captions.numpy()].sum()
        if len(words) != self.num_pairs or num_edges > self.edges:
            return None
        longest = _multiple(int(words.max()) + 1, WORD_STEP)  # every caption has a filling word
        room = (len(words) * longest - int(words.sum())) * longest
        if longest > MASK_NODES or num_edges + room < self.edges:
            return None
        return Shape(self.regions, longest, self.edges, self.device)


def filled_edges(
    targets: Ints, sources: Ints, filling: Ints, longest: int, total: int
) -> tuple[Ints, Ints, Ints]:
    """Edges sorted by (target, source), and more of them into rows that fill up.

    Args:
        targets: `[E']`, among rows of groups that have `longest` each.
        sources: `[E']`.
        filling: rows that fill up, the last one of all among them; no edge has one yet.
        longest: L.
        total: E, at least E', and at most L more a filling row.

    Returns:
        `[E]` targets and sources, and `[E']` the place of each given edge among them.
    """
    num_rows = int(filling[-1]) + 1
    full, rest = divmod(total - len(targets), longest)
    degrees = np.bincount(targets, minlength=num_rows)
    own_before = degrees.cumsum() - degrees
    degrees[filling[:full]] = longest
    if rest:
        degrees[filling[full]] = rest
    before = degrees.cumsum() - degrees
    all_targets = np.repeat(np.arange(num_rows), degrees)
    all_sources = (
        np.arange(total) + (np.arange(num_rows) // longest * longest - before)[all_targets]
    )
    place = np.arange(len(targets)) + (before - own_before)[targets]
    all_sources[place] = sources
    return all_targets, all_sources, place


def filled_rows(ptr: Ints, longest: int) -> Ints:
    """`[N * L]` rows of groups with these `[N+1]` offsets; their last rows fill them up."""
    within = np.minimum(np.arange(longest), np.diff(ptr)[:, None] - 1)
    return (ptr[:-1, None] + within).ravel()


def _multiple(number: int, step: int) -> int:
    """The least multiple of the step that is not below the number."""
    return -(-number // step) * step
