"""The losses: triplet ranking, contrastive, center hinge, positive-negative margin.

Each is a mean over its anchors, so their weights compare them and no value grows with the batch.

I images, C captions, d width. `is_match` [I, C] tells which captions belong to which image;
captions of the same image are never negatives of each other's image.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from resg.config import LossSettings
from resg.training.alarms import spread

PARTS: tuple[str, ...] = ("loss", "triplet", "contrastive", "center", "margin")
"""Names of the total and of the losses."""

FIGURES: tuple[str, ...] = (*PARTS, "deviation", "variance", "recall")
"""Names of what `PairLoss` tells of a batch: the losses, what the collapse alarm reads, and the
recall that the schedule of the negatives follows."""


NO_RIVAL = -1e4
"""A logit whose exponential is 0 beside any other, and whose gradient is 0 and not NaN."""


@dataclass(frozen=True)
class Losses:
    """The weighted sum and its parts, each a scalar tensor."""

    total: Tensor
    triplet: Tensor
    contrastive: Tensor
    center: Tensor
    margin: Tensor

    def with_figures(self, *figures: Tensor) -> Tensor:
        """The values in the order of `PARTS`, then other figures, as one float32 vector."""
        values = (
            self.total,
            self.triplet,
            self.contrastive,
            self.center,
            self.margin,
            *figures,
        )
        return torch.stack([value.detach().float() for value in values])


class PairLoss:
    """The loss of a batch of B pairs, whose scores lie on the diagonal.

    Args:
        settings: weights and margins.
    """

    def __init__(self, settings: LossSettings) -> None:
        self.settings = settings

    def __call__(
        self,
        scores_BB: Tensor,
        images_Bd: Tensor,
        captions_Bd: Tensor,
        image_ids_B: Tensor,
        hardness: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """The loss to differentiate, and its `FIGURES` as one float32 vector.

        Args:
            scores_BB: each image with each caption.
            images_Bd: embeddings of the images, unit length.
            captions_Bd: embeddings of the captions, unit length.
            image_ids_B: the image of each pair; several pairs may be of one.
            hardness: scalar, see `triplet_loss`.
        """
        is_match_BB = image_ids_B[:, None] == image_ids_B[None, :]
        losses = total_loss(scores_BB, images_Bd, captions_Bd, is_match_BB, self.settings, hardness)
        recall = batch_recall(scores_BB.detach(), is_match_BB)
        return losses.total, losses.with_figures(*spread(scores_BB, captions_Bd), recall)


def total_loss(
    scores_IC: Tensor,
    images_Id: Tensor,
    captions_Cd: Tensor,
    is_match_IC: Tensor,
    settings: LossSettings,
    hardness: Tensor | float = 1.0,
) -> Losses:
    """`L = w L_triplet + v L_contrastive + a L_center + b L_margin`; a weight of 0 skips a part.

    Args:
        scores_IC: `[I, C]` similarity of each image with each caption.
        images_Id: `[I, d]` global embeddings of the images, unit length.
        captions_Cd: `[C, d]` global embeddings of the captions, unit length.
        is_match_IC: `[I, C]` bool.
        settings: weights and margins.
        hardness: see `triplet_loss`.
    """
    zero = scores_IC.new_zeros(())
    triplet = contrastive = center = margin = zero
    if settings.triplet_weight:
        triplet = triplet_loss(
            scores_IC,
            is_match_IC,
            settings.triplet_margin,
            hardness,
            sums_violations=settings.hardest_after != "recall",
        )
    if settings.contrastive_weight:
        contrastive = contrastive_loss(scores_IC, is_match_IC, settings.contrastive_temperature)
    if settings.center_weight:
        center = center_loss(images_Id, captions_Cd, is_match_IC, settings.center_margin)
    if settings.margin_weight:
        margin = margin_loss(
            scores_IC, is_match_IC, settings.positive_margin, settings.negative_margin
        )
    total = (
        settings.triplet_weight * triplet
        + settings.contrastive_weight * contrastive
        + settings.center_weight * center
        + settings.margin_weight * margin
    )
    return Losses(total, triplet, contrastive, center, margin)


def matches(image_of_caption_C: Tensor, num_images: int) -> Tensor:
    """`[I, C]` bool: caption c belongs to image i."""
    rows = torch.arange(num_images, device=image_of_caption_C.device)
    return rows[:, None] == image_of_caption_C[None, :]


def triplet_loss(
    scores_IC: Tensor,
    is_match_IC: Tensor,
    margin: float,
    hardness: Tensor | float = 1.0,
    *,
    sums_violations: bool = False,
) -> Tensor:
    """Triplet ranking loss (Faghri et al. 2018, eq. 5 and 6), a mean over its anchors.

    A matching pair (i, c) has two anchors. The image's costs are `[m + s(i, c-) - s(i, c)]+` for
    each negative caption c-, the caption's are `[m + s(i-, c) - s(i, c)]+` for each negative image
    i-. An anchor's loss is `h max + (1 - h) all`: its hardest negative's cost, and all of them
    together, which are their mean over those above 0, or their sum as published. Where all scores
    are equal the loss with the mean is m whatever h is. Without a negative it is 0.

    Args:
        scores_IC: `[I, C]` similarities.
        is_match_IC: `[I, C]` bool.
        margin: m, a cosine.
        hardness: h in [0, 1], a number or a scalar tensor.
        sums_violations: add up the costs of all negatives.
    """
    image_C = is_match_IC.int().argmax(0)
    positive_C = scores_IC.gather(0, image_C[None, :])[0]
    # cost of each negative caption for the pair (image of c, c), and of each negative image for c
    own_CC = scores_IC.index_select(0, image_C)
    caption_cost_CC = (margin + own_CC - positive_C[:, None]).clamp_min(0)
    caption_cost_CC = caption_cost_CC.masked_fill(is_match_IC.index_select(0, image_C), 0)
    image_cost_IC = (margin + scores_IC - positive_C[None, :]).clamp_min(0)
    image_cost_IC = image_cost_IC.masked_fill(is_match_IC, 0)
    cost = image_cost_IC.new_zeros(())
    for cost_AN in (caption_cost_CC, image_cost_IC.T):  # A anchors, N candidates
        all_A = cost_AN.sum(1)
        if not sums_violations:
            all_A = all_A / (cost_AN > 0).sum(1).clamp_min(1)
        cost = cost + torch.lerp(all_A, cost_AN.amax(1), _scalar(hardness, all_A)).mean() / 2
    return cost


def _scalar(value: Tensor | float, like: Tensor) -> Tensor:
    """A number as a tensor beside another; a tensor stays, since a captured step changes it."""
    return value if isinstance(value, Tensor) else like.new_full((), value)


def contrastive_loss(scores_IC: Tensor, is_match_IC: Tensor, temperature: float) -> Tensor:
    """InfoNCE both ways (van den Oord et al. 2018; Radford et al. 2021), a mean over its anchors.

    For every matching pair (i, c), `-log softmax(s / t)` of c among the captions of other images,
    and of i among the other images. Captions of one image are no negatives of each other.

    Args:
        scores_IC: `[I, C]` similarities.
        is_match_IC: `[I, C]` bool.
        temperature: t, a cosine.
    """
    logits_IC = scores_IC / temperature
    others_IC = logits_IC.masked_fill(is_match_IC, NO_RIVAL)
    among_captions_IC = F.softplus(others_IC.logsumexp(1, keepdim=True) - logits_IC)
    among_images_IC = F.softplus(others_IC.logsumexp(0, keepdim=True) - logits_IC)
    costs_IC = (among_captions_IC + among_images_IC).masked_fill(~is_match_IC, 0)
    return costs_IC.sum() / (2 * is_match_IC.sum())


def swap_loss(own_S: Tensor, swapped_S: Tensor, temperature: float) -> Tensor:
    """Mean of `-log softmax(s / t)` of a caption against itself with its relation turned round.

    Args:
        own_S: `[S]` scores of captions with their images.
        swapped_S: of the same with subject and object exchanged (*reconstruction*).
        temperature: t, a cosine.
    """
    return F.softplus((swapped_S - own_S) / temperature).mean()


def phrase_loss(
    scores_IS: Tensor, own_S: Tensor, is_shown_IS: Tensor, temperature: float
) -> Tensor:
    """InfoNCE of phrases among the images that do not show them (Pham et al. 2024), a mean.

    Args:
        scores_IS: of all images with all phrases.
        own_S: the row of each phrase's image.
        is_shown_IS: bool, which images show what a phrase names; they are no negatives.
        temperature: of the softmax, a cosine.
    """
    logits_IS = scores_IS / temperature
    positive_S = logits_IS.gather(0, own_S[None, :])[0]
    others_IS = logits_IS.masked_fill(is_shown_IS, NO_RIVAL)
    return F.softplus(others_IS.logsumexp(0) - positive_S).mean()


def batch_recall(scores_BB: Tensor, is_match_BB: Tensor) -> Tensor:
    """Share of a batch's anchors, both ways, whose own pair scores above all of its negatives.

    Args:
        scores_BB: pairs on the diagonal.
        is_match_BB: bool, which others are of the same image.
    """
    own_B = scores_BB.diagonal()
    others_BB = scores_BB.masked_fill(is_match_BB, -torch.inf)
    is_first = torch.stack([own_B > others_BB.amax(0), own_B > others_BB.amax(1)])
    return is_first.float().mean()


def center_loss(
    images_Id: Tensor, captions_Cd: Tensor, is_match_IC: Tensor, margin: float
) -> Tensor:
    """Center hinge loss (*reconstruction*).

    Mean over all global embeddings x, of images and captions, of
    `[m + d(x, c_own) - min over k != own of d(x, c_k)]+` with d = 1 - cosine and c_k the unit mean
    of image k's embedding and its captions'. Gradients flow through the centres. 0 with one image.

    Args:
        images_Id: `[I, d]` unit length.
        captions_Cd: `[C, d]` unit length.
        is_match_IC: `[I, C]` bool; rows of the same captions are of one image and share a centre.
        margin: m, a cosine distance.
    """
    num_images = images_Id.shape[0]
    if num_images < 2:
        return images_Id.new_zeros(())
    image_C = is_match_IC.int().argmax(0)  # of several rows of one image the first
    image_I = image_C[is_match_IC.int().argmax(1)]
    own_N = torch.cat([image_I, image_C])
    rows_I = torch.arange(num_images, device=images_Id.device)
    is_own_NI = own_N[:, None] == rows_I
    embeddings_Nd = torch.cat([images_Id, captions_Cd])
    sums_Id = is_own_NI.T.to(embeddings_Nd.dtype) @ embeddings_Nd
    centers_Id = F.normalize(sums_Id, dim=-1)  # the direction of a sum is that of its mean
    distance_NI = 1 - embeddings_Nd @ centers_Id.T
    own_distance_N = distance_NI.gather(1, own_N[:, None])[:, 0]
    is_other_NI = (image_I == rows_I) & ~is_own_NI
    nearest_other_N = distance_NI.masked_fill(~is_other_NI, torch.inf).amin(1)
    return (margin + own_distance_N - nearest_other_N).clamp_min(0).mean()


def margin_loss(
    scores_IC: Tensor, is_match_IC: Tensor, positive_margin: float, negative_margin: float
) -> Tensor:
    """Positive-negative margin loss (*reconstruction*).

    Mean over matching pairs of `[m_p - s]+`, plus, for each way, the mean over anchors of
    `[s_neg - m_n]+` with s_neg the anchor's hardest negative. An anchor without a negative counts
    0.

    Args:
        scores_IC: `[I, C]` similarities.
        is_match_IC: `[I, C]` bool.
        positive_margin: m_p, the score that matches should reach.
        negative_margin: m_n < m_p, the score that negatives should not pass.
    """
    negatives_IC = scores_IC.masked_fill(is_match_IC, -float("inf"))
    shortfall_IC = (positive_margin - scores_IC).clamp_min(0)
    pull = shortfall_IC.masked_fill(~is_match_IC, 0).sum() / is_match_IC.sum()
    push_captions = (negatives_IC.amax(1) - negative_margin).clamp_min(0).mean()
    push_images = (negatives_IC.amax(0) - negative_margin).clamp_min(0).mean()
    return pull + push_captions + push_images
