"""Losses of a Faster R-CNN over a batch of one size, without a loop over its images where possible.

torchvision computes targets image by image: some hundred small operations each, which take a GPU
longer than the network itself. The rules here are those of Ren et al. 2015 and of torchvision's
defaults. New are the weak boxes, which are neither objects nor background, and the words of
captions.

B images, A anchors, P proposals, G boxes an image has at most (padded), K regions sampled of each,
V words.
"""

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import concat_box_prediction_layers

from pipeline.detectors.training.augmentation import DetectionBatch
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
from pipeline.detectors.training.network import PIXEL_MEAN, PIXEL_STD


class LossSettings(BaseModel):
    """Which anchors and proposals are judged, and what each loss weighs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    anchors: int = Field(256, ge=2, description="Anchors of an image that are judged.")
    anchor_object_iou: float = Field(0.7, description="IoU from which an anchor is an object.")
    anchor_background_iou: float = Field(0.3, description="IoU below which it is background.")
    regions: int = Field(64, ge=2, description="Proposals of an image that are judged.")
    region_objects: float = Field(0.3, description="Share of them that may be objects.")
    region_object_iou: float = Field(0.5, description="IoU from which a proposal is an object.")
    weak_iou: float = Field(0.3, description="IoU with a weak box that frees from background.")
    proposals: int = Field(384, ge=1, description="Proposals of an image in training.")
    proposals_before_suppression: int = Field(600, ge=1, description="Of each level.")
    suppression_iou: float = Field(0.7, description="IoU that suppresses a proposal.")
    word_regions: int = Field(24, ge=1, description="Best proposals that words are read from.")
    box_weight: float = Field(2.0, ge=0, description="Weight of the loss on regions' boxes.")
    word_weight: float = Field(0.02, ge=0, description="Weight of the loss on caption words.")


class DetectionLosses(nn.Module):
    """The network in training; `forward` gives its losses by name.

    Args:
        network: from `build_network`.
        num_words: words of captions to predict, 0 for none.
        settings: rules and weights.
    """

    def __init__(self, network: FasterRCNN, num_words: int, settings: LossSettings) -> None:
        super().__init__()
        self.network = network
        self.settings = settings
        width = network.roi_heads.box_predictor.cls_score.in_features
        self.words = nn.Linear(width, num_words) if num_words else None
        if self.words is not None:
            nn.init.constant_(self.words.bias, -4.0)  # a word is in about one image of 50

    def forward(self, batch: DetectionBatch) -> dict[str, Tensor]:
        """The losses, each a scalar.

        Returns:
            `objectness`, `anchor_boxes`, `classes`, `boxes`, and `words` where they are predicted.
        """
        network, size = self.network, batch.size
        images = (batch.images - PIXEL_MEAN) / PIXEL_STD
        images = images.contiguous(memory_format=torch.channels_last)
        features = network.backbone(images)
        levels = list(features.values())
        logits, corrections = network.rpn.head(levels)
        counts = [level[0].numel() for level in logits]
        image_list = ImageList(batch.images, [size] * len(batch.images))
        anchors_A4 = network.rpn.anchor_generator(image_list, levels)[0]
        logits, corrections = concat_box_prediction_layers(logits, corrections)
        logits_BA = logits.reshape(len(batch.images), -1).float()
        corrections_BA4 = corrections.reshape(len(batch.images), -1, 4).float()
        losses = self._anchor_losses(anchors_A4, logits_BA, corrections_BA4, batch)
        with torch.no_grad():
            proposals_BP4, is_real_BP = self._proposals(
                anchors_A4, logits_BA, corrections_BA4, counts, size
            )
        return losses | self._region_losses(features, proposals_BP4, is_real_BP, batch)

    def _anchor_losses(
        self, anchors_A4: Tensor, logits_BA: Tensor, corrections_BA4: Tensor, batch: DetectionBatch
    ) -> dict[str, Tensor]:
        settings = self.settings
        with torch.no_grad():
            iou_BAG = pairwise_iou(anchors_A4[None], batch.boxes)
            is_object_BG = (batch.labels >= 0) & ~batch.is_weak
            best_BA, match_BA = iou_BAG.masked_fill(~is_object_BG[:, None], -1).max(2)
            kind_BA = torch.full_like(match_BA, IGNORED)
            kind_BA[best_BA < settings.anchor_background_iou] = BACKGROUND
            kind_BA[best_BA >= settings.anchor_object_iou] = OBJECT
            # every box keeps at least its best anchor
            best_BG = iou_BAG.amax(1).clamp(min=1e-3)
            is_best_BAG = (iou_BAG >= best_BG[:, None]) & is_object_BG[:, None]
            kind_BA[is_best_BAG.any(2)] = OBJECT
            match_BA = torch.where(is_best_BAG.any(2), is_best_BAG.float().argmax(2), match_BA)
            kind_BA = free_of_weak(kind_BA, iou_BAG, batch, settings.weak_iou)
            sampled_BA = sample(kind_BA, settings.anchors, 0.5)
            target_BA4 = encode(anchors_A4[None], take(batch.boxes, match_BA), (1, 1, 1, 1))
        is_object_BA = sampled_BA & (kind_BA == OBJECT)
        count = sampled_BA.sum().clamp(min=1)
        objectness = F.binary_cross_entropy_with_logits(
            logits_BA[sampled_BA], (kind_BA[sampled_BA] == OBJECT).float(), reduction="sum"
        )
        boxes = F.smooth_l1_loss(
            corrections_BA4[is_object_BA], target_BA4[is_object_BA], beta=1 / 9, reduction="sum"
        )
        return {"objectness": objectness / count, "anchor_boxes": boxes / count}

    def _proposals(
        self,
        anchors_A4: Tensor,
        logits_BA: Tensor,
        corrections_BA4: Tensor,
        counts: list[int],
        size: tuple[int, int],
    ) -> tuple[Tensor, Tensor]:
        """`[B, P, 4]` the best boxes after suppression, and `[B, P]` which are no padding."""
        settings = self.settings
        scores, boxes = [], []
        start = 0
        for count in counts:
            part = slice(start, start + count)
            best, rows = logits_BA[:, part].topk(min(settings.proposals_before_suppression, count))
            chosen = take(corrections_BA4[:, part], rows)
            decoded = clip(decode(anchors_A4[part][rows], chosen, (1, 1, 1, 1)), size)
            kept = survivors(decoded, settings.suppression_iou)
            scores.append(best.masked_fill(~kept, -torch.inf))
            boxes.append(decoded)
            start += count
        score_BN, box_BN4 = torch.cat(scores, 1), torch.cat(boxes, 1)
        best, rows = score_BN.topk(min(settings.proposals, score_BN.shape[1]))
        return take(box_BN4, rows), best > -torch.inf

    def _region_losses(
        self,
        features: dict[str, Tensor],
        proposals_BP4: Tensor,
        is_real_BP: Tensor,
        batch: DetectionBatch,
    ) -> dict[str, Tensor]:
        settings, heads = self.settings, self.network.roi_heads
        num_images, size = len(batch.images), batch.size
        code = heads.box_coder.weights
        with torch.no_grad():
            is_object_BG = (batch.labels >= 0) & ~batch.is_weak
            boxes_BN4 = torch.cat([proposals_BP4, batch.boxes], 1)
            is_real_BN = torch.cat([is_real_BP, is_object_BG], 1)
            iou_BNG = pairwise_iou(boxes_BN4, batch.boxes)
            best_BN, match_BN = iou_BNG.masked_fill(~is_object_BG[:, None], -1).max(2)
            kind_BN = (best_BN >= settings.region_object_iou).long()
            kind_BN = free_of_weak(kind_BN, iou_BNG, batch, settings.weak_iou)
            kind_BN[~is_real_BN] = IGNORED
            sampled_BN = sample(kind_BN, settings.regions, settings.region_objects)
            # as many of each image, so that they stay one array: what was not sampled weighs 0
            rows_BK = sampled_BN.float().topk(min(settings.regions, kind_BN.shape[1])).indices
            kind_BK = torch.where(
                sampled_BN.gather(1, rows_BK), kind_BN.gather(1, rows_BK), IGNORED
            )
            boxes_BK4 = take(boxes_BN4, rows_BK)
            matched_BK = match_BN.gather(1, rows_BK)
            target_BK4 = encode(boxes_BK4, take(batch.boxes, matched_BK), code)
            label_BK = torch.where(
                kind_BK == OBJECT, batch.labels.gather(1, matched_BK) + 1, kind_BK
            )
            pooled_boxes = boxes_BK4
            if self.words is not None:
                best = proposals_BP4[:, : settings.word_regions]
                pooled_boxes = torch.cat([boxes_BK4, best], 1)
        pooled = heads.box_roi_pool(features, list(pooled_boxes), [size] * num_images)
        seen = heads.box_head(pooled).unflatten(0, (num_images, -1))
        num_judged = boxes_BK4.shape[1]
        judged = seen[:, :num_judged]
        logits, corrections = heads.box_predictor(judged.flatten(0, 1))
        is_object = (kind_BK == OBJECT).flatten()
        count = (kind_BK != IGNORED).sum().clamp(min=1)
        classes = F.cross_entropy(
            logits.float(), label_BK.flatten(), ignore_index=IGNORED, reduction="sum"
        )
        boxes = F.smooth_l1_loss(
            corrections[is_object].float(),
            target_BK4.flatten(0, 1)[is_object],
            beta=1 / 9,
            reduction="sum",
        )
        losses = {"classes": classes / count, "boxes": settings.box_weight * boxes / count}
        if self.words is not None:
            losses["words"] = self._word_loss(seen[:, num_judged:], is_real_BP, batch)
        return losses

    def _word_loss(self, seen_BRD: Tensor, is_real_BP: Tensor, batch: DetectionBatch) -> Tensor:
        """Each caption word from the image's best regions: a soft maximum over regions.

        The log of the mean of the exponentials lies between mean and maximum, so that a word may
        be seen in one region alone and its logit does not grow with the number of regions.
        """
        assert self.words is not None
        is_real_BR = is_real_BP[:, : seen_BRD.shape[1], None]
        logits_BRV = self.words(seen_BRD).float().masked_fill(~is_real_BR, -torch.inf)
        count_B1 = is_real_BR.sum(1).clamp(min=1)
        logits_BV = logits_BRV.logsumexp(1) - count_B1.log()
        loss_BV = F.binary_cross_entropy_with_logits(logits_BV, batch.words, reduction="none")
        told = batch.has_words.float()
        mean = (loss_BV.sum(1) * told).sum() / told.sum().clamp(min=1)
        return self.settings.word_weight * mean


def free_of_weak(
    kind_BN: Tensor, iou_BNG: Tensor, batch: DetectionBatch, weak_iou: float
) -> Tensor:
    """Background that overlaps a weak box is ignored: an object may be there."""
    is_weak_BG = (batch.labels >= 0) & batch.is_weak
    near_BN = ((iou_BNG >= weak_iou) & is_weak_BG[:, None]).any(2)
    return torch.where((kind_BN == BACKGROUND) & near_BN, IGNORED, kind_BN)
