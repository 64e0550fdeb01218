import math

import pytest
import torch
from torch.nn import functional as F

from resg.config import LossSettings
from resg.training.losses import center_loss, margin_loss, matches, total_loss, triplet_loss

# two images, three captions: 0 and 1 belong to image 0, 2 to image 1
OWNER = torch.tensor([0, 0, 1])
SCORES = torch.tensor([[0.5, 0.7, 0.6], [0.4, 0.65, 0.8]])
IS_MATCH = matches(OWNER, 2)


def test_triplet_takes_the_hardest_negatives_as_worked_by_hand():
    # pair (0, 0): s 0.5; hardest caption 0.6 -> 0.3; hardest image 0.4 -> 0.1
    # pair (0, 1): s 0.7; hardest caption 0.6 -> 0.1; hardest image 0.65 -> 0.15
    # pair (1, 2): s 0.8; hardest caption 0.65 -> 0.05; hardest image 0.6 -> 0
    loss = triplet_loss(SCORES, IS_MATCH, 0.2)
    assert loss.item() == pytest.approx(0.3 + 0.1 + 0.1 + 0.15 + 0.05)


def test_triplet_in_warm_up_sums_all_violations_as_worked_by_hand():
    # only pair (1, 2) has two negative captions: 0.4 -> 0 and 0.65 -> 0.05
    negatives = torch.tensor([[0.5, 0.7, 0.6], [0.75, 0.65, 0.8]])
    # pair (0, 0): caption 0.3, image 0.45; pair (0, 1): 0.1, 0.15; pair (1, 2): 0.15 + 0.05, 0
    loss = triplet_loss(negatives, IS_MATCH, 0.2, hardest=False)
    assert loss.item() == pytest.approx(0.3 + 0.45 + 0.1 + 0.15 + 0.15 + 0.05)


def test_captions_of_the_same_image_are_never_negatives():
    scores = torch.tensor([[0.1, 0.9, -1.0], [-1.0, -1.0, 0.9]])  # a sibling far above the pair
    assert triplet_loss(scores, IS_MATCH, 0.2).item() == 0
    assert margin_loss(scores, IS_MATCH, 0.05, 0.0).item() == 0


def test_center_loss_as_worked_by_hand():
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    captions = torch.tensor([[0.0, 1.0], [0.0, 1.0]])  # the first stands on the wrong side
    owner = torch.tensor([0, 1])
    # centres: image 0 (1, 1)/sqrt 2, image 1 (0, 1)
    half = 1 / math.sqrt(2)
    expected = [
        max(0, 0.2 + (1 - half) - 1),  # image 0: own 1 - half, other 1
        max(0, 0.2 + 0 - (1 - half)),  # image 1
        max(0, 0.2 + (1 - half) - 0),  # caption 0
        max(0, 0.2 + 0 - (1 - half)),  # caption 1
    ]
    loss = center_loss(images, captions, owner, 0.2)
    assert loss.item() == pytest.approx(sum(expected) / 4)


def test_center_loss_of_one_image_is_zero_and_centres_carry_gradients():
    one = F.normalize(torch.randn(1, 4), dim=-1)
    assert center_loss(one, one.repeat(3, 1), torch.zeros(3, dtype=torch.long), 0.2).item() == 0
    images = torch.tensor([[1.0, 0.0], [0.6, 0.8]], requires_grad=True)
    # a hinge that is active for image 0 alone still moves image 1 through its centre
    loss = center_loss(images, images.detach(), torch.tensor([0, 1]), 0.9)
    loss.backward()
    assert images.grad is not None
    assert (images.grad.abs().sum(1) > 0).all()


def test_margin_loss_as_worked_by_hand():
    # positives 0.5, 0.7, 0.8 against 0.6: 0.1, 0, 0
    # hardest negative captions: image 0 0.6, image 1 0.65 against 0.5: 0.1, 0.15
    # hardest negative images: 0.4, 0.65, 0.6: 0, 0.15, 0.1
    loss = margin_loss(SCORES, IS_MATCH, 0.6, 0.5)
    assert loss.item() == pytest.approx(0.1 / 3 + 0.25 / 2 + 0.25 / 3)


def test_each_loss_can_be_turned_off():
    images = F.normalize(torch.randn(2, 4), dim=-1)
    captions = F.normalize(torch.randn(3, 4), dim=-1)
    settings = LossSettings(center_weight=0, margin_weight=0)
    losses = total_loss(SCORES, images, captions, OWNER, settings)
    assert losses.center.item() == losses.margin.item() == 0
    assert losses.total.item() == pytest.approx(losses.triplet.item())
    settings = LossSettings(triplet_weight=0, center_weight=0.5, margin_weight=0)
    losses = total_loss(SCORES, images, captions, OWNER, settings)
    assert losses.triplet.item() == 0
    assert losses.total.item() == pytest.approx(0.5 * losses.center.item())


def test_warm_up_sums_what_the_hardest_alone_decide_later():
    embeddings = F.normalize(torch.randn(3, 4), dim=-1)
    scores = torch.tensor([[0.5, 0.6, 0.6], [0.6, 0.5, 0.6], [0.6, 0.6, 0.5]])
    owner = torch.arange(3)
    settings = LossSettings(center_weight=0, margin_weight=0)
    before = total_loss(scores, embeddings, embeddings, owner, settings, hardest=False).total
    after = total_loss(scores, embeddings, embeddings, owner, settings).total
    assert before.item() == pytest.approx(2 * after.item())  # two negatives a row, equally hard


def test_one_image_alone_gives_no_triplet_and_a_finite_margin_loss():
    scores = torch.tensor([[0.5, 0.6]], requires_grad=True)
    is_match = matches(torch.tensor([0, 0]), 1)
    assert triplet_loss(scores, is_match, 0.2).item() == 0
    loss = margin_loss(scores, is_match, 0.6, 0.4)
    assert loss.item() == pytest.approx(0.05)
    loss.backward()
    assert torch.isfinite(scores.grad).all()
