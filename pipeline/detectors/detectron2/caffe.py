"""Parts of a detectron2 model that do what Caffe's Faster R-CNN did. Needs detectron2.

Anderson et al. 2018 trained with py-faster-rcnn's conventions: a box from 0 to 9 is 10 pixels wide,
anchors are rounded and listed by ratio first, pooling rounds up. Features differ where one is not
kept. A anchors a place, N pictures.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.layers import ShapeSpec, nms
from detectron2.modeling.anchor_generator import ANCHOR_GENERATOR_REGISTRY, DefaultAnchorGenerator
from detectron2.modeling.backbone import BACKBONE_REGISTRY
from detectron2.modeling.backbone.resnet import BasicStem, ResNet, build_resnet_backbone
from detectron2.modeling.proposal_generator import PROPOSAL_GENERATOR_REGISTRY
from detectron2.modeling.proposal_generator.rpn import RPN
from detectron2.structures import Boxes, Instances
from torch import Tensor

BASE_SIDE = 16
"""Anchors grow from the box (0, 0, 15, 15), whose centre is 7.5."""

LARGEST_GROWTH = math.log(1000 / 16)
"""Logarithm of the most that a regression may enlarge a side."""


def caffe_cell_anchors(scales: tuple[float, ...], ratios: tuple[float, ...]) -> Tensor:
    """`[A, 4]` the anchors of one place, by ratio first; py-faster-rcnn's generate_anchors.py.

    Args:
        scales: multiples of 16 pixels.
        ratios: height over width.
    """
    centre, area = (BASE_SIDE - 1) / 2, BASE_SIDE * BASE_SIDE
    anchors = []
    for ratio in ratios:
        width = round(math.sqrt(area / ratio))
        height = round(width * ratio)
        for scale in scales:
            x, y = (width * scale - 1) / 2, (height * scale - 1) / 2
            anchors.append([centre - x, centre - y, centre + x, centre + y])
    return torch.tensor(anchors)


@ANCHOR_GENERATOR_REGISTRY.register()
class CaffeAnchorGenerator(DefaultAnchorGenerator):
    """detectron2's grid of Caffe's anchors; SIZES are their sides in pixels."""

    def generate_cell_anchors(
        self,
        sizes: tuple[float, ...] = (64, 128, 256, 512),
        aspect_ratios: tuple[float, ...] = (0.5, 1, 2),
    ) -> Tensor:
        """The anchors of one place."""
        return caffe_cell_anchors(tuple(size / BASE_SIDE for size in sizes), aspect_ratios)


def apply_caffe_deltas(deltas: Tensor, boxes: Tensor) -> Tensor:
    """Boxes moved by a regression, widths counted in pixels; py-faster-rcnn's bbox_transform_inv.

    Args:
        deltas: `[..., 4]`.
        boxes: `[..., 4]` corners.
    """
    sides = boxes[..., 2:] - boxes[..., :2] + 1
    centres = boxes[..., :2] + sides / 2 + deltas[..., :2] * sides
    half = deltas[..., 2:].clamp(max=LARGEST_GROWTH).exp() * sides / 2
    return torch.cat([centres - half, centres + half], dim=-1)


@PROPOSAL_GENERATOR_REGISTRY.register()
class CaffeRPN(RPN):
    """Proposals as Caffe's layer made them: clipped, small ones dropped, 6,000, then suppression.

    Its smallest side is in pixels of the resized picture; Caffe's grew with the scale.
    """

    def predict_proposals(
        self,
        anchors: list[Boxes],
        pred_objectness_logits: list[Tensor],
        pred_anchor_deltas: list[Tensor],
        image_sizes: list[Any],
    ) -> list[Instances]:
        """The best proposals of each picture, best first; one feature map."""
        moved = apply_caffe_deltas(pred_anchor_deltas[0], anchors[0].tensor)
        return [
            self._of_picture(boxes, scores, size)
            for boxes, scores, size in zip(
                moved, pred_objectness_logits[0], image_sizes, strict=True
            )
        ]

    def _of_picture(self, boxes_A4: Tensor, scores_A: Tensor, size: Any) -> Instances:
        # sides are tensors while an export traces them; a list of them would become a constant
        height, width = (torch.as_tensor(side).to(boxes_A4) for side in size)
        last = torch.stack([width, height, width, height]) - 1
        boxes_A4 = boxes_A4.clamp(min=0).minimum(last)
        sides = boxes_A4[:, 2:] - boxes_A4[:, :2]
        is_large = ((sides > 0) & (sides + 1 > self.min_box_size)).all(1)
        boxes_A4, scores_A = boxes_A4[is_large], scores_A[is_large]
        order = scores_A.sort(dim=0, descending=True)[1]
        order = order[: self.pre_nms_topk[self.training]]
        boxes_A4, scores_A = boxes_A4[order], scores_A[order]
        one = boxes_A4.new_tensor([0.0, 0.0, 1.0, 1.0])  # as suppression counts pixels too
        kept = nms(boxes_A4 + one, scores_A, self.nms_thresh)[: self.post_nms_topk[self.training]]
        found = Instances(size)
        found.proposal_boxes = Boxes(boxes_A4[kept])
        found.objectness_logits = scores_A[kept]
        return found


class CaffeStem(BasicStem):
    """detectron2's stem whose pooling has no border and rounds the size up."""

    def forward(self, x: Tensor) -> Tensor:
        """A quarter of the size."""
        return F.max_pool2d(self.conv1(x).relu_(), 3, stride=2, padding=0, ceil_mode=True)


@BACKBONE_REGISTRY.register()
def build_caffe_resnet_backbone(cfg: Any, input_shape: ShapeSpec) -> ResNet:
    """detectron2's ResNet with Caffe's stem."""
    backbone = build_resnet_backbone(cfg, input_shape)
    resnets = cfg.MODEL.RESNETS
    backbone.stem = CaffeStem(input_shape.channels, resnets.STEM_OUT_CHANNELS, resnets.NORM)
    return backbone
