import math

import pytest
import torch
from torch.nn import functional as F

from resg.config import LossSettings
from resg.training.losses import (
    batch_recall,
    center_loss,
    contrastive_loss,
    margin_loss,
    matches,
    phrase_loss,
    swap_loss,
    total_loss,
    triplet_loss,
)

# two images, three captions: 0 and 1 belong to image 0, 2 to image 1
OWNER = torch.tensor([0, 0, 1])
SCORES = torch.tensor([[0.5, 0.7, 0.6], [0.4, 0.65, 0.8]])
IS_MATCH = matches(OWNER, 2)


def test_triplet_takes_the_hardest_negatives_as_worked_by_hand():
    # pair (0, 0): s 0.5; hardest caption 0.6 -> 0.3; hardest image 0.4 -> 0.1
    # pair (0, 1): s 0.7; hardest caption 0.6 -> 0.1; hardest image 0.65 -> 0.15
    # pair (1, 2): s 0.8; hardest caption 0.65 -> 0.05; hardest image 0.6 -> 0
    loss = triplet_loss(SCORES, IS_MATCH, 0.2)
    assert loss.item() == pytest.approx((0.3 + 0.1 + 0.1 + 0.15 + 0.05) / 6)


def test_triplet_without_hardness_takes_all_violations_as_worked_by_hand():
    # only pair (1, 2) has two negative captions: 0.4 -> 0 and 0.65 -> 0.05
    negatives = torch.tensor([[0.5, 0.7, 0.6], [0.75, 0.65, 0.8]])
    # pair (0, 0): caption 0.3, image 0.45; pair (0, 1): 0.1, 0.15; pair (1, 2): 0.15 + 0.05, 0
    loss = triplet_loss(negatives, IS_MATCH, 0.2, 0.0, sums_violations=True)
    assert loss.item() == pytest.approx((0.3 + 0.45 + 0.1 + 0.15 + 0.15 + 0.05) / 6)
    loss = triplet_loss(negatives, IS_MATCH, 0.2, 0.0)
    assert loss.item() == pytest.approx((0.3 + 0.45 + 0.1 + 0.15 + 0.2 / 2) / 6)


def test_hardness_moves_the_triplet_from_all_violations_to_the_hardest():
    scores = torch.rand(9, 9, generator=torch.Generator().manual_seed(0))
    is_match = matches(torch.arange(9), 9)
    losses = [triplet_loss(scores, is_match, 0.2, torch.tensor(h / 4)).item() for h in range(5)]
    assert losses == sorted(losses)
    assert losses[2] == pytest.approx((losses[0] + losses[4]) / 2)


def test_contrastive_loss_as_worked_by_hand():
    # the sibling caption of image 0 is in no denominator
    def share(own, *others):
        return -math.log(math.exp(own / 0.1) / sum(math.exp(s / 0.1) for s in (own, *others)))

    among_captions = share(0.5, 0.6) + share(0.7, 0.6) + share(0.8, 0.4, 0.65)
    among_images = share(0.5, 0.4) + share(0.7, 0.65) + share(0.8, 0.6)
    loss = contrastive_loss(SCORES, IS_MATCH, 0.1)
    assert loss.item() == pytest.approx((among_captions + among_images) / 6, rel=1e-5)


def test_swap_loss_as_worked_by_hand():
    own, swapped = torch.tensor([0.5, 0.2]), torch.tensor([0.4, 0.2])
    expected = (math.log1p(math.exp(-0.1 / 0.05)) + math.log(2)) / 2
    assert swap_loss(own, swapped, 0.05).item() == pytest.approx(expected)


def test_phrase_loss_as_worked_by_hand():
    scores = torch.tensor([[0.5, 0.1], [0.4, 0.3], [0.9, 0.2]])
    is_shown = torch.tensor([[True, False], [False, True], [True, False]])
    # phrase 0 of image 0 is shown by image 2 too; phrase 1 is of image 1
    first = math.log1p(math.exp((0.4 - 0.5) / 0.1))
    second = math.log1p(math.exp((0.1 - 0.3) / 0.1) + math.exp((0.2 - 0.3) / 0.1))
    loss = phrase_loss(scores, torch.tensor([0, 1]), is_shown, 0.1)
    assert loss.item() == pytest.approx((first + second) / 2, rel=1e-5)


def test_recall_of_a_batch_counts_both_ways_and_no_ties():
    scores = torch.tensor([[0.9, 0.1], [0.95, 0.5]])
    own = torch.eye(4, dtype=torch.bool)
    assert batch_recall(scores, own[:2, :2]).item() == 0.5  # image 0 and caption 1 find their own
    assert batch_recall(torch.ones(4, 4), own).item() == 0


def test_two_pairs_of_one_image_are_positives_of_each_other_and_share_a_centre():
    views, captions = F.normalize(torch.randn(2, 4, 3), dim=-1)
    is_match = torch.tensor([0, 0, 1, 1])[:, None] == torch.tensor([0, 0, 1, 1])
    scores = views @ captions.T
    exact = [
        math.log1p(sum(math.exp((s - own) / 0.1) for s in line[~mask].tolist()))
        for table, masks in ((scores, is_match), (scores.T, is_match.T))
        for line, mask in zip(table, masks, strict=True)
        for own in line[mask].tolist()
    ]
    loss = contrastive_loss(scores, is_match, 0.1)
    assert loss.item() == pytest.approx(sum(exact) / len(exact), rel=1e-4)
    swapped = scores[:, [1, 0, 3, 2]]  # a pair's caption and its sibling
    assert batch_recall(swapped, is_match) == batch_recall(scores[[1, 0, 3, 2]], is_match)
    centers = F.normalize(
        torch.stack([views[k : k + 2].sum(0) + captions[k : k + 2].sum(0) for k in (0, 2)]), dim=-1
    )
    distance = 1 - torch.cat([views, captions]) @ centers.T
    own = torch.tensor([0, 0, 1, 1, 0, 0, 1, 1])
    gap = distance.gather(1, own[:, None]) - distance.gather(1, 1 - own[:, None])
    expected = (0.2 + gap).clamp_min(0).mean().item()
    assert center_loss(views, captions, is_match, 0.2).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("hardness", [0.0, 0.5, 1.0])
def test_the_losses_do_not_grow_with_the_batch(hardness):
    # the same anchors again, whose twins are as easy as the negatives that they have already
    settings = LossSettings(contrastive_weight=0)
    for scale in (0.0, 1.0):  # equal scores, and scores of random directions
        values = []
        for size in (16, 256):
            random = torch.Generator().manual_seed(0)
            rows = torch.randn(2, size, 256, generator=random) * scale
            images, captions = F.normalize(rows + 1e-3, dim=-1)
            own = torch.eye(size, dtype=torch.bool)
            losses = total_loss(images @ captions.T, images, captions, own, settings, hardness)
            values.append(torch.stack([losses.triplet, losses.center, losses.margin]))
        small, large = values
        if not scale:
            torch.testing.assert_close(large, small)
            assert large[0].item() == pytest.approx(settings.triplet_margin)
        assert (large <= 1.3).all()  # the margin loss has two ways
        assert (large <= 2 * small + 0.1).all()  # the hardest of more is harder, no more than that


def test_captions_of_the_same_image_are_never_negatives():
    scores = torch.tensor([[0.1, 0.9, -1.0], [-1.0, -1.0, 0.9]])  # a sibling far above the pair
    assert triplet_loss(scores, IS_MATCH, 0.2).item() == 0
    assert margin_loss(scores, IS_MATCH, 0.05, 0.0).item() == 0


def test_center_loss_as_worked_by_hand():
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    captions = torch.tensor([[0.0, 1.0], [0.0, 1.0]])  # the first stands on the wrong side
    is_match = torch.eye(2, dtype=torch.bool)
    # centres: image 0 (1, 1)/sqrt 2, image 1 (0, 1)
    half = 1 / math.sqrt(2)
    expected = [
        max(0, 0.2 + (1 - half) - 1),  # image 0: own 1 - half, other 1
        max(0, 0.2 + 0 - (1 - half)),  # image 1
        max(0, 0.2 + (1 - half) - 0),  # caption 0
        max(0, 0.2 + 0 - (1 - half)),  # caption 1
    ]
    loss = center_loss(images, captions, is_match, 0.2)
    assert loss.item() == pytest.approx(sum(expected) / 4)


def test_center_loss_of_one_image_is_zero_and_centres_carry_gradients():
    one = F.normalize(torch.randn(1, 4), dim=-1)
    assert center_loss(one, one.repeat(3, 1), torch.ones(1, 3, dtype=torch.bool), 0.2).item() == 0
    images = torch.tensor([[1.0, 0.0], [0.6, 0.8]], requires_grad=True)
    # a hinge that is active for image 0 alone still moves image 1 through its centre
    loss = center_loss(images, images.detach(), torch.eye(2, dtype=torch.bool), 0.9)
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
    settings = LossSettings(contrastive_weight=0, center_weight=0, margin_weight=0)
    losses = total_loss(SCORES, images, captions, IS_MATCH, settings)
    assert losses.contrastive.item() == losses.center.item() == losses.margin.item() == 0
    assert losses.total.item() == pytest.approx(losses.triplet.item())
    settings = LossSettings(
        triplet_weight=0, contrastive_weight=0, center_weight=0.5, margin_weight=0
    )
    losses = total_loss(SCORES, images, captions, IS_MATCH, settings)
    assert losses.triplet.item() == 0
    assert losses.total.item() == pytest.approx(0.5 * losses.center.item())


def test_a_number_of_epochs_sums_what_the_hardest_alone_decide_later():
    embeddings = F.normalize(torch.randn(3, 4), dim=-1)
    scores = torch.tensor([[0.5, 0.6, 0.6], [0.6, 0.5, 0.6], [0.6, 0.6, 0.5]])
    own = torch.eye(3, dtype=torch.bool)
    settings = LossSettings(hardest_after=1, contrastive_weight=0, center_weight=0, margin_weight=0)
    before = total_loss(scores, embeddings, embeddings, own, settings, 0.0).total
    after = total_loss(scores, embeddings, embeddings, own, settings).total
    assert before.item() == pytest.approx(2 * after.item())  # two negatives a row, equally hard


def test_one_image_alone_gives_no_triplet_and_a_finite_margin_loss():
    scores = torch.tensor([[0.5, 0.6]], requires_grad=True)
    is_match = matches(torch.tensor([0, 0]), 1)
    assert triplet_loss(scores, is_match, 0.2).item() == 0
    loss = margin_loss(scores, is_match, 0.6, 0.4)
    assert loss.item() == pytest.approx(0.05)
    loss.backward()
    assert torch.isfinite(scores.grad).all()
