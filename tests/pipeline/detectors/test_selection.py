import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.detectors.selection import Selection, pairwise_iou, select_regions, surviving_scores
from pipeline.errors import SettingsError


def reference_selection(boxes, scores, selection):
    """Bottom-up attention's rule in loops: suppression a class, then the largest survivor."""
    num_boxes, num_classes = scores.shape
    extra = 1 if selection.counts_pixels else 0

    def iou(a, b):
        w = min(a[2], b[2]) - max(a[0], b[0]) + extra
        h = min(a[3], b[3]) - max(a[1], b[1]) + extra
        if w <= 0 or h <= 0:
            return 0.0
        areas = [(c[2] - c[0] + extra) * (c[3] - c[1] + extra) for c in (a, b)]
        return w * h / (sum(areas) - w * h)

    best = [0.0] * num_boxes
    for label in range(num_classes):
        order = sorted(range(num_boxes), key=lambda i: (-scores[i, label], i))
        kept = []
        for i in order:
            if all(iou(boxes[i], boxes[j]) <= selection.nms_threshold for j in kept):
                kept.append(i)
                best[i] = max(best[i], scores[i, label])
    ranked = sorted(range(num_boxes), key=lambda i: (-best[i], i))
    passed = [i for i in ranked if best[i] >= selection.score_threshold]
    if len(passed) < selection.min_regions:
        return ranked[: selection.min_regions]
    return passed[: selection.max_regions]


@given(st.integers(0, 10_000))
@settings(max_examples=120, deadline=None)
def test_selection_is_the_reference_rule_on_planted_tables(seed):
    random = np.random.default_rng(seed)
    num_boxes, num_classes = random.integers(1, 25), random.integers(1, 6)
    corners = random.integers(0, 30, (num_boxes, 2))
    boxes = np.concatenate([corners, corners + random.integers(1, 20, (num_boxes, 2))], 1)
    scores = random.dirichlet(np.full(num_classes + 1, 0.4), num_boxes)[:, :-1]
    scores = np.round(scores, 2)  # ties
    low = int(random.integers(1, 8))
    selection = Selection(
        min_regions=low,
        max_regions=low + int(random.integers(0, 6)),
        score_threshold=float(random.choice([0.05, 0.2, 0.5])),
        counts_pixels=bool(random.integers(2)),
    )
    kept = select_regions(boxes.astype(np.float32), scores.astype(np.float32), selection)
    assert kept.rows.tolist() == reference_selection(boxes, scores.astype(np.float32), selection)


def test_a_box_suppressed_in_its_best_class_keeps_its_next_one():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10]], np.float32)
    scores = np.array([[0.9, 0.0], [0.8, 0.3]], np.float32)
    is_overlap = pairwise_iou(boxes) > 0.3
    kept = surviving_scores(is_overlap, scores, Selection(min_regions=2))
    assert kept.tolist() == pytest.approx([0.9, 0.3])


def test_too_few_are_filled_by_the_next_best_and_counted():
    boxes = np.array([[i * 20, 0, i * 20 + 10, 10] for i in range(5)], np.float32)
    scores = np.array([[0.001], [0.9], [0.1], [0.0], [0.05]], np.float32)
    kept = select_regions(boxes, scores, Selection(min_regions=3, max_regions=4))
    assert kept.rows.tolist() == [1, 2, 4]
    assert kept.num_filled == 2


def test_nothing_found_still_gives_the_minimum_of_what_there_is():
    boxes = np.array([[0, 0, 1, 1], [5, 5, 6, 6]], np.float32)
    kept = select_regions(boxes, np.zeros((2, 3), np.float32), Selection())
    assert kept.rows.tolist() == [0, 1]
    assert kept.num_filled == 2


def test_a_fixed_count_is_fixed():
    random = np.random.default_rng(0)
    corners = random.uniform(0, 200, (60, 2))
    boxes = np.concatenate([corners, corners + 20], 1).astype(np.float32)
    scores = random.dirichlet(np.ones(9), 60)[:, :8].astype(np.float32)
    assert len(select_regions(boxes, scores, Selection.parse("36")).rows) == 36


@pytest.mark.parametrize("text", ["0", "10:5", "many", "10:x", "-3"])
def test_a_count_that_is_none_is_refused(text):
    with pytest.raises(SettingsError, match="expected regions as a count"):
        Selection.parse(text)
