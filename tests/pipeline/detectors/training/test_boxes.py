"""Overlap, samples and regressions of boxes, against numbers by hand and as laws."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.detectors.training.boxes import (
    BACKGROUND,
    IGNORED,
    OBJECT,
    clip,
    decode,
    encode,
    pairwise_iou,
    sample,
    survivors,
    take,
)

CODE = (10.0, 10.0, 5.0, 5.0)


def boxes(draw_list):
    corners = torch.tensor(draw_list)
    return torch.cat([corners[:, :2], corners[:, :2] + corners[:, 2:]], 1)


SIDES = st.tuples(st.floats(0, 300), st.floats(0, 300), st.floats(4, 200), st.floats(4, 200))


def test_iou_of_half_covered_apart_and_empty_boxes():
    first = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 0, 0]]])
    second = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 20], [20, 20, 30, 30]]])
    expected = torch.tensor([[[1, 0.5, 0], [0, 0, 0]]])
    assert torch.allclose(pairwise_iou(first, second), expected)


@given(st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=8))
def test_decoding_what_was_encoded_gives_the_target(pairs):
    start = boxes([pair[0] for pair in pairs])
    target = boxes([pair[1] for pair in pairs])
    assert torch.allclose(decode(start, encode(start, target, CODE), CODE), target, atol=0.05)


def test_a_regression_grows_a_side_by_a_bounded_factor():
    grown = decode(torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[0.0, 0, 100, 100]]), (1,) * 4)
    assert float(grown[0, 2] - grown[0, 0]) == pytest.approx(2 * 62.5, rel=0.01)


def test_clip_moves_corners_into_the_image():
    moved = clip(torch.tensor([[-5.0, 2, 50, 90]]), (40, 30))
    assert moved.tolist() == [[0, 2, 30, 40]]


@given(st.integers(0, 20), st.integers(0, 40), st.integers(2, 24), st.floats(0.1, 0.9))
def test_a_sample_holds_at_most_its_count_and_share_of_objects(objects, background, count, share):
    kinds = [OBJECT] * objects + [BACKGROUND] * background + [IGNORED] * 7
    kind = torch.tensor([kinds])[:, torch.randperm(len(kinds))]
    chosen = sample(kind, count, share)
    num_objects = int((chosen & (kind == OBJECT)).sum())
    assert num_objects == min(objects, int(count * share))
    assert int(chosen.sum()) == min(count, num_objects + background)
    assert not bool((chosen & (kind == IGNORED)).any())


def test_take_gives_rows_of_each_image():
    values = torch.arange(12.0).reshape(2, 3, 2)
    taken = take(values, torch.tensor([[2, 0], [1, 1]]))
    assert taken.tolist() == [[[4, 5], [0, 1]], [[8, 9], [8, 9]]]


def greedy(iou_NN, most_iou):
    kept = []
    for number in range(len(iou_NN)):
        if all(iou_NN[number, better] <= most_iou for better in kept):
            kept.append(number)
    return kept


@pytest.mark.parametrize("spread", [8, 40, 400])
def test_survivors_of_all_images_are_those_of_greedy_suppression(spread):
    torch.manual_seed(spread)
    corner = torch.rand(4, 200, 2) * spread
    batch = torch.cat([corner, corner + 20 + torch.rand(4, 200, 2) * 150], 2)
    kept = survivors(batch, 0.7)
    for iou_NN, is_kept in zip(pairwise_iou(batch, batch), kept, strict=True):
        assert is_kept.nonzero()[:, 0].tolist() == greedy(iou_NN, 0.7)
    assert not bool(kept.all())
