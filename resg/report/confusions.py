"""The confusions that hurt most: what was ranked above the right answer by the widest margin.

I images, C captions; scores [I, C].
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating[Any]]
Owners = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Confusion:
    """A query whose best answer is wrong.

    Attributes:
        query: row of the caption whose image was looked for, or of the image whose caption was.
        right: row of the right answer with the highest score.
        wrong: row of the answer that was ranked first.
        right_score: score of the right answer.
        wrong_score: score of the wrong one.
        rank: place of the right answer, 1 for the first.
    """

    query: int
    right: int
    wrong: int
    right_score: float
    wrong_score: float
    rank: int


def worst_captions(scores_IC: Scores, image_of_caption_C: Owners, most: int) -> list[Confusion]:
    """Captions that found another image before their own, the widest margin first."""
    rows_I = np.arange(len(scores_IC))
    return _worst(
        (
            _confusion(caption, scores_IC[:, caption], rows_I == image)
            for caption, image in enumerate(image_of_caption_C.tolist())
        ),
        most,
    )


def worst_images(scores_IC: Scores, image_of_caption_C: Owners, most: int) -> list[Confusion]:
    """Images that found a caption of another image before their own, the widest margin first."""
    return _worst(
        (
            _confusion(image, scores_C, image_of_caption_C == image)
            for image, scores_C in enumerate(scores_IC)
        ),
        most,
    )


def _worst(confusions: Iterable[Confusion | None], most: int) -> list[Confusion]:
    found = [confusion for confusion in confusions if confusion is not None]
    return sorted(found, key=lambda each: each.right_score - each.wrong_score)[:most]


def _confusion(query: int, scores: Scores, is_right: NDArray[np.bool_]) -> Confusion | None:
    """None where the right answer has the highest score; an equal wrong one counts as higher."""
    right = int(np.where(is_right, scores, -np.inf).argmax())
    wrong = int(np.where(is_right, -np.inf, scores).argmax())
    if is_right.all() or scores[right] > scores[wrong]:
        return None
    rank = 1 + int(np.count_nonzero(scores[~is_right] >= scores[right]))
    return Confusion(query, right, wrong, float(scores[right]), float(scores[wrong]), rank)
