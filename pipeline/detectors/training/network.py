"""The detector of photographs: torchvision's Faster R-CNN on an EfficientNet-Lite trunk.

A region's feature is what the box predictor sees: a fully connected layer over 7 x 7 cells of the
pyramid (where things are), beside the mean of the trunk's last 1,280 channels in the box (what
things are, as ImageNet taught).
"""

from collections import OrderedDict
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign

from pipeline.detectors.training.backbone import HEAD_CHANNELS, EfficientNetLite

PIXEL_MEAN, PIXEL_STD = 127.0, 128.0
"""Of every channel, as the ImageNet weights expect."""

LEVELS = ("stride8", "stride16", "stride32")
SEMANTIC = "semantic"
"""Name of the map of 1,280 channels among the levels; its stride is 32."""

STRIDE = 32
CELLS = 7


class NetworkSettings(BaseModel):
    """Sizes of the network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trunk: Literal["lite0", "lite1", "lite2"] = Field("lite2", description="EfficientNet-Lite.")
    pyramid_channels: int = Field(96, ge=8, description="Channels of each level of the pyramid.")
    box_width: int = Field(768, ge=8, description="Numbers of a feature that stem from the cells.")
    anchor_sizes: tuple[tuple[int, ...], ...] = Field(
        ((16, 26, 40), (60, 88, 124), (172, 244, 344)),
        description="Sides of square anchors in pixels, by level.",
    )
    anchor_ratios: tuple[float, ...] = Field((0.5, 1.0, 2.0), description="Height to width.")
    proposals: int = Field(256, ge=1, description="Proposals of an image in use.")
    proposals_before_suppression: int = Field(500, ge=1, description="Of each level, in use.")

    @property
    def feature_width(self) -> int:
        """Width D of a region's feature."""
        return self.box_width + HEAD_CHANNELS


class Pyramid(nn.Module):
    """Trunk and feature pyramid; the trunk's last channels go along as one more map.

    Args:
        settings: sizes.
    """

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        self.trunk = EfficientNetLite(settings.trunk)
        self.out_channels = settings.pyramid_channels
        self.pyramid = FeaturePyramidNetwork(list(self.trunk.channels), self.out_channels)

    def forward(self, images_B3HW: Tensor) -> dict[str, Tensor]:
        """The maps by name, finest first."""
        maps, semantic = self.trunk(images_B3HW)
        levels = self.pyramid(OrderedDict(zip(LEVELS, maps, strict=True)))
        return {**levels, SEMANTIC: semantic}


class LevelAnchors(AnchorGenerator):
    """torchvision's anchors, of the levels of the pyramid and not of the semantic map."""

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """See torchvision."""
        return super().forward(image_list, feature_maps[: len(LEVELS)])


class LevelHead(RPNHead):
    """torchvision's head of the region proposal network, on the levels of the pyramid."""

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """See torchvision."""
        return super().forward(x[: len(LEVELS)])


class RegionPooling(MultiScaleRoIAlign):
    """Cells of the pyramid and the mean of the semantic map, of each box.

    Returns `[N, channels * 49 + 1280]`.
    """

    def __init__(self) -> None:
        super().__init__(list(LEVELS), output_size=CELLS, sampling_ratio=2)

    def forward(
        self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]
    ) -> Tensor:
        """Pool the boxes (pixels of the network's input) of a batch, image after image."""
        cells = super().forward(x, boxes, image_shapes).flatten(1)
        return torch.cat([cells, box_means(x[SEMANTIC], boxes)], 1)


def box_means(map_BCHW: Tensor, boxes: list[Tensor]) -> Tensor:
    """`[N, C]` means of a map of stride 32 over boxes; a cell counts by the part inside the box.

    A matrix product, exact by area, where RoIAlign would sample each of the 1,280 channels.
    """
    if len({len(of_image) for of_image in boxes}) > 1:  # one image at a time
        pairs = zip(map_BCHW, boxes, strict=True)
        return torch.cat([box_means(map_CHW[None], [own]) for map_CHW, own in pairs])
    boxes_BP4 = torch.stack(boxes)
    rows = torch.arange(map_BCHW.shape[2], device=map_BCHW.device) * STRIDE
    columns = torch.arange(map_BCHW.shape[3], device=map_BCHW.device) * STRIDE
    down_BPH = _shares(boxes_BP4[..., 1:2], boxes_BP4[..., 3:4], rows)
    across_BPW = _shares(boxes_BP4[..., 0:1], boxes_BP4[..., 2:3], columns)
    shares_BPHW = down_BPH[..., None] * across_BPW[..., None, :]
    return (shares_BPHW.flatten(2) @ map_BCHW.flatten(2).transpose(1, 2)).flatten(0, 1)


def _shares(low: Tensor, high: Tensor, starts: Tensor) -> Tensor:
    """Which share of each interval lies in each cell; cells are `STRIDE` long."""
    inside = torch.minimum(high, starts + STRIDE) - torch.maximum(low, starts.to(low))
    inside = inside.clamp(min=0)
    return inside / inside.sum(-1, keepdim=True).clamp(min=1e-6)


class RegionFeature(nn.Module):
    """The feature of a region from what was pooled."""

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        self.num_cells = settings.pyramid_channels * CELLS**2
        self.box = nn.Linear(self.num_cells, settings.box_width)

    def forward(self, pooled: Tensor) -> Tensor:
        """`[N, channels * 49 + 1280]` to `[N, D]`."""
        cells, semantic = pooled[:, : self.num_cells], pooled[:, self.num_cells :]
        return torch.cat([F.relu(self.box(cells)), semantic], 1)


class BoxPredictor(nn.Module):
    """Class scores, background first, and one box regression that all classes share."""

    def __init__(self, feature_width: int, num_classes: int) -> None:
        super().__init__()
        self.cls_score = nn.Linear(feature_width, num_classes + 1)
        self.bbox_pred = nn.Linear(feature_width, 4)
        nn.init.normal_(self.cls_score.weight, std=0.01)
        nn.init.normal_(self.bbox_pred.weight, std=0.001)
        nn.init.zeros_(self.cls_score.bias)
        nn.init.zeros_(self.bbox_pred.bias)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """`[N, C + 1]` logits and `[N, 4]` regressions."""
        return self.cls_score(features), self.bbox_pred(features)


def build_network(num_classes: int, settings: NetworkSettings) -> FasterRCNN:
    """A Faster R-CNN with random weights.

    Args:
        num_classes: without background.
        settings: sizes.
    """
    anchors = LevelAnchors(
        settings.anchor_sizes, (settings.anchor_ratios,) * len(settings.anchor_sizes)
    )
    return FasterRCNN(
        Pyramid(settings),
        rpn_anchor_generator=anchors,
        rpn_pre_nms_top_n_test=settings.proposals_before_suppression,
        rpn_post_nms_top_n_test=settings.proposals,
        rpn_head=LevelHead(settings.pyramid_channels, anchors.num_anchors_per_location()[0]),
        box_roi_pool=RegionPooling(),
        box_head=RegionFeature(settings),
        box_predictor=BoxPredictor(settings.feature_width, num_classes),
        image_mean=[PIXEL_MEAN / 255] * 3,
        image_std=[PIXEL_STD / 255] * 3,
    )
