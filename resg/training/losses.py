"""The three losses: triplet ranking, center hinge, positive-negative margin.

I images, C captions, d width. `is_match` [I, C] tells which captions belong to which image;
captions of the same image are never negatives of each other's image.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from resg.config import LossSettings
from resg.training.alarms import spread

PARTS: tuple[str, ...] = ("loss", "triplet", "center", "margin")
"""Names of the total and of the three losses."""

FIGURES: tuple[str, ...] = (*PARTS, "deviation", "variance")
"""Names of what `PairLoss` tells of a batch: the losses, and what the collapse alarm reads."""


@dataclass(frozen=True)
class Losses:
    """The weighted sum and its parts, each a scalar tensor."""

    total: Tensor
    triplet: Tensor
    center: Tensor
    margin: Tensor

    def with_figures(self, *figures: Tensor) -> Tensor:
        """The values in the order of `PARTS`, then other figures, as one float32 vector."""
        values = (self.total, self.triplet, self.center, self.margin, *figures)
        return torch.stack([value.detach().float() for value in values])


class PairLoss:
    """The loss of a batch of B pairs, whose scores lie on the diagonal.

    Args:
        settings: weights and margins.
    """

    def __init__(self, settings: LossSettings) -> None:
        self.settings = settings

    def __call__(
        self, scores_BB: Tensor, images_Bd: Tensor, captions_Bd: Tensor, hardest: bool
    ) -> tuple[Tensor, Tensor]:
        """The loss to differentiate, and its `FIGURES` as one float32 vector.

        Args:
            scores_BB: each image with each caption.
            images_Bd: embeddings of the images, unit length.
            captions_Bd: embeddings of the captions, unit length.
            hardest: the triplet loss takes the hardest negatives; all violations during warm-up.
        """
        image_of_caption = torch.arange(len(captions_Bd), device=captions_Bd.device)
        losses = total_loss(
            scores_BB, images_Bd, captions_Bd, image_of_caption, self.settings, hardest=hardest
        )
        return losses.total, losses.with_figures(*spread(scores_BB, captions_Bd))


def total_loss(
    scores_IC: Tensor,
    images_Id: Tensor,
    captions_Cd: Tensor,
    image_of_caption_C: Tensor,
    settings: LossSettings,
    *,
    hardest: bool = True,
) -> Losses:
    """`L = w L_triplet + a L_center + b L_margin`; a part of weight 0 is not computed.

    Args:
        scores_IC: `[I, C]` similarity of each image with each caption.
        images_Id: `[I, d]` global embeddings of the images, unit length.
        captions_Cd: `[C, d]` global embeddings of the captions, unit length.
        image_of_caption_C: `[C]` row of each caption's image.
        settings: weights and margins.
        hardest: the triplet loss takes the hardest negatives; all violations during warm-up.
    """
    zero = scores_IC.new_zeros(())
    is_match_IC = matches(image_of_caption_C, scores_IC.shape[0])
    triplet = center = margin = zero
    if settings.triplet_weight:
        triplet = triplet_loss(scores_IC, is_match_IC, settings.triplet_margin, hardest=hardest)
    if settings.center_weight:
        center = center_loss(images_Id, captions_Cd, image_of_caption_C, settings.center_margin)
    if settings.margin_weight:
        margin = margin_loss(
            scores_IC, is_match_IC, settings.positive_margin, settings.negative_margin
        )
    total = (
        settings.triplet_weight * triplet
        + settings.center_weight * center
        + settings.margin_weight * margin
    )
    return Losses(total, triplet, center, margin)


def matches(image_of_caption_C: Tensor, num_images: int) -> Tensor:
    """`[I, C]` bool: caption c belongs to image i."""
    rows = torch.arange(num_images, device=image_of_caption_C.device)
    return rows[:, None] == image_of_caption_C[None, :]


def triplet_loss(
    scores_IC: Tensor, is_match_IC: Tensor, margin: float, *, hardest: bool = True
) -> Tensor:
    """Triplet ranking loss with hard negatives (Faghri et al. 2018, eq. 6).

    For every matching pair (i, c): `[m + s(i, c-) - s(i, c)]+ + [m + s(i-, c) - s(i, c)]+`, summed
    over pairs, where c- and i- are the hardest negatives in the batch, or summed over all negatives
    (their eq. 5) when `hardest` is false. Without a negative the loss is 0.

    Args:
        scores_IC: `[I, C]` similarities.
        is_match_IC: `[I, C]` bool.
        margin: m, a cosine.
        hardest: take the hardest negative alone.
    """
    image_C = is_match_IC.int().argmax(0)
    positive_C = scores_IC.gather(0, image_C[None, :])[0]
    # cost of each negative caption for the pair (image of c, c), and of each negative image for c
    own_CC = scores_IC.index_select(0, image_C)
    caption_cost_CC = (margin + own_CC - positive_C[:, None]).clamp_min(0)
    caption_cost_CC = caption_cost_CC.masked_fill(is_match_IC.index_select(0, image_C), 0)
    image_cost_IC = (margin + scores_IC - positive_C[None, :]).clamp_min(0)
    image_cost_IC = image_cost_IC.masked_fill(is_match_IC, 0)
    if hardest:
        return caption_cost_CC.amax(1).sum() + image_cost_IC.amax(0).sum()
    return caption_cost_CC.sum() + image_cost_IC.sum()


def center_loss(
    images_Id: Tensor, captions_Cd: Tensor, image_of_caption_C: Tensor, margin: float
) -> Tensor:
    """Center hinge loss (*reconstruction*).

    Mean over all global embeddings x, of images and captions, of
    `[m + d(x, c_own) - min over k != own of d(x, c_k)]+` with d = 1 - cosine and c_k the unit mean
    of image k's embedding and its captions'. Gradients flow through the centres. 0 with one image.

    Args:
        images_Id: `[I, d]` unit length.
        captions_Cd: `[C, d]` unit length.
        image_of_caption_C: `[C]` row of each caption's image.
        margin: m, a cosine distance.
    """
    num_images = images_Id.shape[0]
    if num_images < 2:
        return images_Id.new_zeros(())
    sums_Id = images_Id.index_add(0, image_of_caption_C, captions_Cd)
    centers_Id = F.normalize(sums_Id, dim=-1)  # the direction of a sum is that of its mean
    embeddings_Nd = torch.cat([images_Id, captions_Cd])
    own_N = torch.cat([torch.arange(num_images, device=images_Id.device), image_of_caption_C])
    distance_NI = 1 - embeddings_Nd @ centers_Id.T
    own_distance_N = distance_NI.gather(1, own_N[:, None])[:, 0]
    nearest_other_N = distance_NI.scatter(1, own_N[:, None], float("inf")).amin(1)
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
