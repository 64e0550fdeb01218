"""Parts of detectron2 models that are ours: C4 heads with attributes, and a small backbone.

Registered under their names, so that a config file can ask for them. N regions, D feature width,
C classes, A attributes.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import configurable
from detectron2.layers import CNNBlockBase, Conv2d, ShapeSpec, get_norm
from detectron2.modeling.backbone import BACKBONE_REGISTRY
from detectron2.modeling.backbone.resnet import BottleneckBlock, ResNet
from detectron2.modeling.roi_heads import ROI_HEADS_REGISTRY, Res5ROIHeads
from detectron2.modeling.roi_heads.roi_heads import select_foreground_proposals
from torch import Tensor, nn

SMALL_STAGES = (2, 2, 3)
"""Blocks of res2, res3 and res4 of the small backbone."""


class LinearAttributes(nn.Module):
    """Attributes as one linear layer over the region's feature.

    Attributes of one group exclude each other and share a softmax; those of the group '' stand
    alone. Being linear, it makes the feature itself tell of them.

    Args:
        width: of the feature.
        groups: the group of each attribute.
    """

    def __init__(self, width: int, groups: Sequence[str]) -> None:
        super().__init__()
        self.score = nn.Linear(width, len(groups))
        nn.init.normal_(self.score.weight, std=0.01)
        nn.init.zeros_(self.score.bias)
        names = sorted(set(groups) - {""})
        self.members = [[k for k, group in enumerate(groups) if group == name] for name in names]
        self.alone = [k for k, group in enumerate(groups) if group == ""]

    def forward(self, features_ND: Tensor, classes_N: Tensor) -> Tensor:
        """`[N, A]` logits; the class is not looked at."""
        return self.score(features_ND)

    def probabilities(self, logits_NA: Tensor) -> Tensor:
        """`[N, A]` in [0, 1]; those of a group sum to 1."""
        columns: list[Tensor] = [torch.empty(0)] * logits_NA.shape[1]
        for member in self.members:
            shares = logits_NA[:, member].softmax(-1)
            for place, k in enumerate(member):
                columns[k] = shares[:, place]
        for k in self.alone:
            columns[k] = logits_NA[:, k].sigmoid()
        return torch.stack(columns, dim=1)

    def loss(self, logits_NA: Tensor, has_NA: Tensor) -> Tensor:
        """Mean cross-entropy, a group counted where an object has exactly one of its attributes."""
        total = logits_NA.sum() * 0.0
        for member in self.members:
            has = has_NA[:, member].long()
            is_known = has.sum(1) == 1
            if is_known.any():
                total = total + F.cross_entropy(
                    logits_NA[is_known][:, member], has[is_known].argmax(1)
                )
        if self.alone and len(logits_NA):
            total = total + F.binary_cross_entropy_with_logits(
                logits_NA[:, self.alone], has_NA[:, self.alone].float()
            )
        return total


class ClassConditionedAttributes(nn.Module):
    """Attributes given the class, as bottom-up attention has them (Anderson et al. 2018).

    An embedding of the class beside the feature, a hidden layer, a softmax over the attributes
    and 'none'.

    Args:
        width: of the feature.
        num_classes: without background; row C of the embedding is the background's.
        num_attributes: without 'none'.
        embedding_width: of the class.
        hidden_width: of the hidden layer.
    """

    def __init__(
        self,
        width: int,
        num_classes: int,
        num_attributes: int,
        embedding_width: int,
        hidden_width: int,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_classes + 1, embedding_width)
        self.hidden = nn.Linear(width + embedding_width, hidden_width)
        self.score = nn.Linear(hidden_width, num_attributes + 1)
        for weight in (self.embedding.weight, self.hidden.weight, self.score.weight):
            nn.init.normal_(weight, std=0.01)
        nn.init.zeros_(self.hidden.bias)
        nn.init.zeros_(self.score.bias)

    def forward(self, features_ND: Tensor, classes_N: Tensor) -> Tensor:
        """`[N, A+1]` logits; the last column is 'none'."""
        joined = torch.cat([features_ND, self.embedding(classes_N)], dim=1)
        return self.score(self.hidden(joined).relu())

    def probabilities(self, logits_NA1: Tensor) -> Tensor:
        """`[N, A]` in [0, 1], without 'none'."""
        return logits_NA1.softmax(-1)[:, :-1]

    def loss(self, logits_NA1: Tensor, has_NA: Tensor) -> Tensor:
        """Cross-entropy against equal shares of an object's attributes, where it has any."""
        is_known = has_NA.any(1)
        if not is_known.any():
            return logits_NA1.sum() * 0.0
        shares = has_NA[is_known].float()
        shares = shares / shares.sum(1, keepdim=True)
        return -(shares * logits_NA1[is_known].log_softmax(-1)[:, :-1]).sum(1).mean()


AttributeHead = LinearAttributes | ClassConditionedAttributes


@ROI_HEADS_REGISTRY.register()
class AttributeRes5ROIHeads(Res5ROIHeads):
    """C4 heads whose pooled feature also predicts attributes.

    Differs from detectron2's in that MODEL.RESNETS.RES5_DILATION is heeded, and that regions may be
    cut from an earlier stage than res4 (MODEL.ROI_HEADS.IN_FEATURES), where the finer map pays.
    """

    attributes: AttributeHead | None

    @configurable
    def __init__(
        self, *, attributes: AttributeHead | None, attribute_weight: float, **settings: Any
    ) -> None:
        super().__init__(**settings)
        self.attributes = attributes
        self.attribute_weight = attribute_weight

    @classmethod
    def from_config(cls, cfg: Any, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """What `__init__` takes, as detectron2's heads have it."""
        settings = super().from_config(cfg, input_shape)
        width = settings["box_predictor"].cls_score.in_features
        head = _attribute_head(cfg.MODEL.ATTRIBUTES, width, cfg.MODEL.ROI_HEADS.NUM_CLASSES)
        return settings | {
            "attributes": head,
            "attribute_weight": cfg.MODEL.ATTRIBUTES.LOSS_WEIGHT,
        }

    @classmethod
    def _build_res5_block(cls, cfg: Any) -> tuple[nn.Sequential, int]:
        resnets = cfg.MODEL.RESNETS
        out_channels = resnets.RES2_OUT_CHANNELS * 8
        (cut_from,) = cfg.MODEL.ROI_HEADS.IN_FEATURES  # "res3": its width is twice that of res2
        dilation = resnets.RES5_DILATION
        blocks = ResNet.make_stage(
            BottleneckBlock,
            3,
            stride_per_block=[2 // dilation, 1, 1],
            in_channels=resnets.RES2_OUT_CHANNELS * 2 ** (int(cut_from.removeprefix("res")) - 2),
            bottleneck_channels=resnets.NUM_GROUPS * resnets.WIDTH_PER_GROUP * 8,
            out_channels=out_channels,
            num_groups=resnets.NUM_GROUPS,
            norm=resnets.NORM,
            stride_in_1x1=resnets.STRIDE_IN_1X1,
            dilation=dilation,
        )
        return nn.Sequential(*blocks), out_channels

    def forward(
        self, images: Any, features: dict[str, Tensor], proposals: Any, targets: Any = None
    ) -> tuple[list[Any], dict[str, Tensor]]:
        """Losses when training; else detections, with `attribute_probabilities` where learned."""
        if self.training:
            proposals = self.label_and_sample_proposals(proposals, targets)
        pooled_ND = self.region_features(features, [p.proposal_boxes for p in proposals])
        predictions = self.box_predictor(pooled_ND)
        if not self.training:
            return self._detections(pooled_ND, predictions, proposals), {}
        losses = self.box_predictor.losses(predictions, proposals)
        if self.attributes is not None:
            foreground, masks = select_foreground_proposals(proposals, self.num_classes)
            logits = self.attributes(
                pooled_ND[torch.cat(masks)], torch.cat([p.gt_classes for p in foreground])
            )
            has_NA = torch.cat([p.gt_attributes for p in foreground])
            losses["loss_attribute"] = self.attribute_weight * self.attributes.loss(
                logits.float(), has_NA
            )
        return [], losses

    def region_features(self, features: dict[str, Tensor], boxes: Sequence[Any]) -> Tensor:
        """`[N, D]` what the box predictor sees of each box."""
        maps = [features[name] for name in self.in_features]
        return self._shared_roi_transform(maps, list(boxes)).mean(dim=[2, 3])

    def _detections(self, pooled_ND: Tensor, predictions: Any, proposals: Any) -> list[Any]:
        detections, kept = self.box_predictor.inference(predictions, proposals)
        if self.attributes is None:
            return detections
        counts = [len(p) for p in proposals]
        for instances, features, rows in zip(
            detections, pooled_ND.split(counts), kept, strict=True
        ):
            logits = self.attributes(features[rows], instances.pred_classes)
            instances.attribute_probabilities = self.attributes.probabilities(logits)
        return detections


def _attribute_head(settings: Any, width: int, num_classes: int) -> AttributeHead | None:
    if not settings.NAMES:
        return None
    if settings.KIND == "class-conditioned":
        return ClassConditionedAttributes(
            width,
            num_classes,
            len(settings.NAMES),
            settings.EMBEDDING_WIDTH,
            settings.HIDDEN_WIDTH,
        )
    return LinearAttributes(width, settings.GROUPS or [""] * len(settings.NAMES))


class SmallStem(CNNBlockBase):
    """A 5x5 convolution of stride 2; no pooling, as small objects and textures need the pixels."""

    def __init__(self, in_channels: int, out_channels: int, norm: str) -> None:
        super().__init__(in_channels, out_channels, 2)
        self.conv1 = Conv2d(
            in_channels,
            out_channels,
            kernel_size=5,
            stride=2,
            padding=2,
            bias=False,
            norm=get_norm(norm, out_channels),
        )
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Half the size."""
        return self.conv1(x).relu_()


@BACKBONE_REGISTRY.register()
def build_small_backbone(cfg: Any, input_shape: ShapeSpec) -> ResNet:
    """A narrow ResNet of bottleneck blocks whose res4 has stride 8."""
    resnets = cfg.MODEL.RESNETS
    stem = SmallStem(input_shape.channels, resnets.STEM_OUT_CHANNELS, resnets.NORM)
    stages, in_channels = [], resnets.STEM_OUT_CHANNELS
    for level, num_blocks in enumerate(SMALL_STAGES):
        out_channels = resnets.RES2_OUT_CHANNELS * 2**level
        stages.append(
            ResNet.make_stage(
                BottleneckBlock,
                num_blocks,
                stride_per_block=[1 if level == 0 else 2] + [1] * (num_blocks - 1),
                in_channels=in_channels,
                bottleneck_channels=resnets.WIDTH_PER_GROUP * 2**level,
                out_channels=out_channels,
                norm=resnets.NORM,
                stride_in_1x1=resnets.STRIDE_IN_1X1,
            )
        )
        in_channels = out_channels
    return ResNet(
        stem, stages, out_features=resnets.OUT_FEATURES, freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT
    )
