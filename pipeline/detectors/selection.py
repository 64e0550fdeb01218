"""Selection of an image's regions among a detector's proposals; shared by all backends.

P proposals, C classes (no background among them), R regions kept.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import SettingsError

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Selection:
    """Keep the regions with the largest class score that survives per-class suppression.

    With `score_threshold` 0.2 this is what bottom-up attention's Caffe code does (Anderson et al.
    2018, `generate_tsv.py`): of all regions at or above the threshold, at least `min_regions` and
    at most `max_regions`.

    Attributes:
        min_regions: minimum number; where fewer pass, the next best proposals fill up to it.
        max_regions: maximum number; equal to `min_regions` for a fixed count.
        score_threshold: score from which a proposal that survives suppression is kept.
        nms_threshold: IoU above which the lower-scored box of a class is suppressed.
        counts_pixels: whether a box from 0 to 9 is 10 wide, as in Caffe's code, or 9.
    """

    min_regions: int = 10
    max_regions: int = 100
    score_threshold: float = 0.2
    nms_threshold: float = 0.3
    counts_pixels: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.min_regions <= self.max_regions:
            raise SettingsError(
                "expected regions as a count (36) or a range (10:100) of at least 1, got "
                f"{self.min_regions}:{self.max_regions}."
            )

    @classmethod
    def parse(cls, text: str, **settings: Any) -> Self:
        """From `36` (a fixed count) or `10:100` (a range).

        Raises:
            SettingsError: neither of the two.
        """
        low, _, high = text.partition(":")
        try:
            return cls(min_regions=int(low), max_regions=int(high or low), **settings)
        except ValueError as error:
            raise SettingsError(
                f"expected regions as a count (36) or a range (10:100), got {text!r}."
            ) from error


@dataclass(frozen=True, eq=False)
class Kept:
    """The selected proposals.

    Attributes:
        rows: `[R]` the kept proposals, best first; equal scores in the order of the proposals.
        num_filled: how many of them did not pass and only fill up to the minimum.
    """

    rows: NDArray[np.int64]
    num_filled: int


def select_regions(boxes_P4: Floats, class_scores_PC: Floats, selection: Selection) -> Kept:
    """Select proposals by their largest class score that survives suppression.

    Args:
        boxes_P4: corners of the proposals in pixels.
        class_scores_PC: probability of each class, without background.
        selection: the settings.

    Returns:
        The kept rows; all P where there are fewer than the minimum.
    """
    is_overlap_PP = pairwise_iou(boxes_P4, selection.counts_pixels) > selection.nms_threshold
    best_P = surviving_scores(is_overlap_PP, class_scores_PC, selection)
    passed = int(np.count_nonzero(best_P >= selection.score_threshold))
    count = min(max(passed, selection.min_regions), selection.max_regions, len(best_P))
    rows = np.argsort(-best_P, kind="stable")[:count]
    return Kept(rows, max(0, count - passed))


def surviving_scores(
    is_overlap_PP: NDArray[np.bool_], class_scores_PC: Floats, selection: Selection
) -> Floats:
    """`[P]` the largest score of each box among the classes in which it survives suppression.

    Within a class, boxes are visited in descending order of score, and a box that overlaps a kept
    one is suppressed. All classes are visited together, and only as far as the selection needs: a
    box that cannot be selected gets 0.
    """
    # Each row packed into one integer, bit k set where box k overlaps: suppressing is one `or`.
    packed_PB = np.packbits(is_overlap_PP, axis=1, bitorder="little")
    overlaps_P = [int.from_bytes(row.tobytes(), "little") for row in packed_PB]
    suppressed_C = [0] * class_scores_PC.shape[1]
    best_P = np.zeros(len(class_scores_PC), class_scores_PC.dtype)
    threshold, found = float(best_P.dtype.type(selection.score_threshold)), 0
    for score, box, label in _from_the_highest(class_scores_PC, threshold):
        # scores are sorted stably, so that the first of equal boxes wins
        if found >= (selection.max_regions if score >= threshold else selection.min_regions):
            break
        if suppressed_C[label] >> box & 1:
            continue
        suppressed_C[label] |= overlaps_P[box]
        if not best_P[box]:
            best_P[box] = score
            found += 1
    return best_P


def _from_the_highest(
    class_scores_PC: Floats, threshold: float
) -> Iterator[tuple[float, int, int]]:
    """Score, box and class of each positive score in descending order, ties by box.

    Sorted in bands of score, because few are visited below the threshold.
    """
    ceiling, floor = np.inf, threshold
    while True:
        is_in_band_PC = (class_scores_PC >= floor) & (class_scores_PC < ceiling)
        box_N, class_N = np.nonzero(is_in_band_PC & (class_scores_PC > 0))
        score_N = class_scores_PC[box_N, class_N]
        order = np.argsort(-score_N, kind="stable")
        yield from zip(
            score_N[order].tolist(), box_N[order].tolist(), class_N[order].tolist(), strict=True
        )
        if floor == 0:
            return
        ceiling, floor = floor, (floor / 4 if floor > 1e-6 else 0.0)


def pairwise_iou(boxes_P4: Floats, counts_pixels: bool = False) -> Floats:
    """`[P, P]` intersection over union; 0 where a box has no area.

    Args:
        boxes_P4: corners.
        counts_pixels: add 1 to widths and heights, as Caffe's code does.
    """
    x0, y0, x1, y1 = boxes_P4.astype(np.float64).T
    extra = 1.0 if counts_pixels else 0.0
    width = np.minimum(x1[:, None], x1) - np.maximum(x0[:, None], x0) + extra
    height = np.minimum(y1[:, None], y1) - np.maximum(y0[:, None], y0) + extra
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    area = np.maximum(x1 - x0 + extra, 0) * np.maximum(y1 - y0 + extra, 0)
    union = area[:, None] + area - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
