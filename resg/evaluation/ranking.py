"""Exact ranks and Recall@K of a score matrix; ties count against the model.

I images, C captions; scores [I, C]. A rank is the number of candidates that do not match and score
at least as high as the best match, so 0 is first, and a matrix of equal scores gives Recall@1 = 0.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resg.errors import ResgError

RECALLS = (1, 5, 10)


class ScoreError(ResgError):
    """A score matrix that cannot be ranked."""


@dataclass(frozen=True)
class Retrieval:
    """Retrieval metrics of one direction.

    Attributes:
        recall: K to the share of queries, in percent, whose best match is among the first K.
        median_rank: median over queries of the best match's place, 1 for the first.
        mean_rank: the mean of the same.
        num_queries: how many queries there were.
    """

    recall: dict[int, float]
    median_rank: float
    mean_rank: float
    num_queries: int

    def as_json(self) -> dict[str, float | int]:
        """`{"r1": ..., "r5": ..., "r10": ..., "medr": ..., "meanr": ..., "queries": ...}`."""
        figures: dict[str, float | int] = {f"r{k}": share for k, share in self.recall.items()}
        return figures | {
            "medr": self.median_rank,
            "meanr": self.mean_rank,
            "queries": self.num_queries,
        }


@dataclass(frozen=True)
class Metrics:
    """Retrieval metrics of both directions: images to captions (i2t), captions to images (t2i)."""

    i2t: Retrieval
    t2i: Retrieval

    @property
    def rsum(self) -> float:
        """Sum of the six recalls, at most 600."""
        return sum(self.i2t.recall.values()) + sum(self.t2i.recall.values())

    def as_json(self) -> dict[str, Any]:
        """One object with `i2t`, `t2i` and `rsum`."""
        return {"i2t": self.i2t.as_json(), "t2i": self.t2i.as_json(), "rsum": self.rsum}


def rank(scores: NDArray[np.floating[Any]], top: int | None = None) -> NDArray[np.int64]:
    """Candidates from the best to the worst.

    Args:
        scores: `[..., K]` of K candidates, higher is better: a row of a score matrix for the
            captions of an image, a column for the images of a caption.
        top: how many of the best; None for all.

    Returns:
        `[..., top]` indices of candidates; equal scores stay in order.

    Example:
        >>> rank(np.array([0.1, 0.7, 0.3]), top=2)
        array([1, 2])
    """
    return np.argsort(-np.asarray(scores), axis=-1, kind="stable")[..., :top]


def score_matrix_metrics(
    scores_IC: NDArray[np.floating[Any]], image_of_caption_C: NDArray[np.integer[Any]]
) -> Metrics:
    """Recall@1, 5, 10 and ranks in both directions.

    Args:
        scores_IC: `[I, C]` similarities, higher is better.
        image_of_caption_C: `[C]` row of each caption's image.

    Raises:
        ScoreError: shapes do not fit, a score is not finite, or an image has no caption.
    """
    check_scores(scores_IC, image_of_caption_C)
    return Metrics(
        i2t=_retrieval(image_ranks(scores_IC, image_of_caption_C)),
        t2i=_retrieval(caption_ranks(scores_IC, image_of_caption_C)),
    )


def image_ranks(
    scores_IC: NDArray[np.floating[Any]], image_of_caption_C: NDArray[np.integer[Any]]
) -> NDArray[np.int64]:
    """`[I]` how many captions of other images score at least as high as the image's best own."""
    ranks = np.empty(scores_IC.shape[0], dtype=np.int64)
    for image, scores_C in enumerate(scores_IC):
        is_own_C = image_of_caption_C == image
        ranks[image] = np.count_nonzero(scores_C[~is_own_C] >= scores_C[is_own_C].max())
    return ranks


def caption_ranks(
    scores_IC: NDArray[np.floating[Any]], image_of_caption_C: NDArray[np.integer[Any]]
) -> NDArray[np.int64]:
    """`[C]` how many other images score at least as high as the caption's own."""
    own_C = scores_IC[image_of_caption_C, np.arange(scores_IC.shape[1])]
    ranks = np.zeros(scores_IC.shape[1], dtype=np.int64)
    for scores_C in scores_IC:  # a row at a time: no second matrix of the same size
        ranks += scores_C >= own_C
    return ranks - 1  # the own image counted itself


def check_scores(
    scores_IC: NDArray[np.floating[Any]], image_of_caption_C: NDArray[np.integer[Any]]
) -> None:
    """Refuse scores that cannot be ranked.

    Raises:
        ScoreError: shapes do not fit, a score is not finite, or an image has no caption.
    """
    if scores_IC.ndim != 2 or scores_IC.shape[1] != image_of_caption_C.shape[0]:
        raise ScoreError(
            f"expected a matrix of images x {image_of_caption_C.shape[0]} captions, "
            f"got shape {scores_IC.shape}."
        )
    is_bad = ~np.isfinite(scores_IC)
    if is_bad.any():
        image, caption = np.argwhere(is_bad)[0]
        raise ScoreError(
            f"expected finite scores, got {scores_IC[image, caption]} for image {image} and "
            f"caption {caption} ({int(is_bad.sum())} such scores). A model that diverged gives "
            "these: look at its training loss."
        )
    check_owners(image_of_caption_C, scores_IC.shape[0])


def check_owners(image_of_caption_C: NDArray[np.integer[Any]], num_images: int) -> None:
    """Refuse images without a caption, which have no rank.

    Raises:
        ScoreError: an image has no caption, or a caption no image.
    """
    if image_of_caption_C.size and not (
        image_of_caption_C.min() >= 0 and image_of_caption_C.max() < num_images
    ):
        raise ScoreError(
            f"expected captions of images 0 to {num_images - 1}, got captions of "
            f"{image_of_caption_C.min()} to {image_of_caption_C.max()}."
        )
    captions_I = np.bincount(image_of_caption_C, minlength=num_images)
    if not captions_I.size or (captions_I == 0).any():
        raise ScoreError(
            "expected a caption for every image, got none for "
            f"{int((captions_I == 0).sum())} of {num_images}. Leave these images out of the split, "
            "or give them captions."
        )


def _retrieval(ranks: NDArray[np.int64]) -> Retrieval:
    return Retrieval(
        recall={k: 100.0 * float(np.mean(ranks < k)) for k in RECALLS},
        median_rank=float(np.median(ranks)) + 1,
        mean_rank=float(np.mean(ranks)) + 1,
        num_queries=len(ranks),
    )
