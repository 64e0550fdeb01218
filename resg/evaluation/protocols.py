"""Retrieval metrics of a score matrix, by the field's protocols.

I images, C captions. Needs NumPy alone, so that a matrix is evaluated without starting PyTorch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from resg.errors import SettingsError
from resg.evaluation.chance import chance_figures
from resg.evaluation.matrices import load_matrix
from resg.evaluation.ranking import Metrics, check_scores, score_matrix_metrics

Protocol = Literal["full", "1k", "5x1k"]
FOLD_SIZE = 1000


@dataclass(frozen=True)
class Evaluation:
    """Metrics of a protocol, for each of its folds; a protocol without folds has one.

    Attributes:
        protocol: `full`, `1k` or `5x1k`.
        folds: metrics of each fold of images.
        chance: the figures that random scores would give, means over the folds.
    """

    protocol: Protocol
    folds: tuple[Metrics, ...]
    chance: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """One object: the protocol, what it ranks, and the means over folds.

        `images` and `captions` count those of all folds; `i2t`, `t2i` and `rsum` are the figures,
        `chance` has the same of random scores.
        """
        return {
            "protocol": self.protocol,
            "images": sum(fold.i2t.num_queries for fold in self.folds),
            "captions": sum(fold.t2i.num_queries for fold in self.folds),
            "chance": self.chance,
            **mean_of([fold.as_json() for fold in self.folds]),
        }


def mean_of(figures: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean of each figure of equally shaped nested objects."""
    return _combine(figures, lambda values: float(np.mean(values)))


def deviation_of(figures: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Sample standard deviation of each figure; 0 of one object."""
    return _combine(
        figures, lambda values: float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    )


def _combine(figures: Sequence[dict[str, Any]], combine: Any) -> dict[str, Any]:
    first = figures[0]
    return {
        name: _combine([f[name] for f in figures], combine)
        if isinstance(value, dict)
        else combine([f[name] for f in figures])
        for name, value in first.items()
        if not isinstance(value, str)
    }


def evaluate_scores(
    scores_IC: NDArray[np.floating[Any]],
    image_of_caption_C: NDArray[np.integer[Any]],
    protocol: Protocol = "full",
) -> Evaluation:
    """Metrics of a score matrix by a protocol.

    `full` ranks among all; `1k` among the first 1,000 images and their captions; `5x1k` takes the
    mean over the five folds of 1,000 images (Karpathy and Fei-Fei 2015).

    Raises:
        SettingsError: there are fewer images than the protocol needs.
        ScoreError: shapes do not fit, a score is not finite, or an image has no caption.
    """
    check_scores(scores_IC, image_of_caption_C)  # all of them, whatever the folds leave out
    num_images = scores_IC.shape[0]
    needed = {"full": 0, "1k": 1000, "5x1k": 5000}[protocol]
    if num_images < needed:
        raise SettingsError(
            f"protocol {protocol} needs {needed} images, there are {num_images}. "
            "Use --protocol full."
        )
    size = num_images if protocol == "full" else FOLD_SIZE
    folds, chances = [], []
    for start in range(0, needed or size, size):
        is_fold_C = (image_of_caption_C >= start) & (image_of_caption_C < start + size)
        owner_C = image_of_caption_C[is_fold_C] - start
        fold_scores = scores_IC[start : start + size]
        if size < num_images:  # a matrix of all need not be copied
            fold_scores = fold_scores[:, is_fold_C]
        folds.append(score_matrix_metrics(fold_scores, owner_C))
        chances.append(chance_figures(owner_C, size))
    return Evaluation(protocol, tuple(folds), mean_of(chances))


def evaluate_matrix(
    path: Path, protocol: Protocol = "full", owners: Path | None = None
) -> dict[str, Any]:
    """Figures of a score matrix in a NumPy file, and its split where the ids beside it tell it.

    Raises:
        ResgError: as `load_matrix` and `evaluate_scores`.
    """
    scores_IC, image_of_caption_C, split = load_matrix(path, owners)
    figures = evaluate_scores(scores_IC, image_of_caption_C, protocol).as_json()
    return figures if split is None else {"split": split, **figures}
