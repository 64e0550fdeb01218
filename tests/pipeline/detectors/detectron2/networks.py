"""Small random networks of detectron2: C4 with attributes, and FPN."""

import numpy as np
import torch


def slim(kind):
    from pipeline.detectors.detectron2.configuration import new_config

    config = new_config()
    config.MODEL.DEVICE = "cpu"
    config.MODEL.WEIGHTS = ""
    config.INPUT.MIN_SIZE_TEST, config.INPUT.MAX_SIZE_TEST = 96, 160
    resnets, heads = config.MODEL.RESNETS, config.MODEL.ROI_HEADS
    resnets.STEM_OUT_CHANNELS, resnets.WIDTH_PER_GROUP, resnets.RES2_OUT_CHANNELS = 16, 8, 16
    heads.NUM_CLASSES = 5
    config.MODEL.ANCHOR_GENERATOR.SIZES = [[16, 32, 64]]
    config.MODEL.RPN.POST_NMS_TOPK_TEST = 40
    if kind == "fpn":
        config.MODEL.BACKBONE.NAME = "build_resnet_fpn_backbone"
        resnets.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
        config.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
        config.MODEL.FPN.OUT_CHANNELS = 32
        config.MODEL.RPN.IN_FEATURES = ["p2", "p3", "p4", "p5", "p6"]
        config.MODEL.ANCHOR_GENERATOR.SIZES = [[8], [16], [32], [64], [128]]
        heads.NAME = "StandardROIHeads"
        heads.IN_FEATURES = ["p2", "p3", "p4", "p5"]
        box_head = config.MODEL.ROI_BOX_HEAD
        box_head.NAME, box_head.NUM_FC, box_head.FC_DIM = "FastRCNNConvFCHead", 2, 48
        box_head.POOLER_RESOLUTION = 7
    else:
        heads.NAME = "AttributeRes5ROIHeads"
        config.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION = 6
        config.MODEL.ATTRIBUTES.NAMES = ["red", "green", "large"]
        config.MODEL.ATTRIBUTES.GROUPS = ["colour", "colour", ""]
    return config


def spread(model, seed=3):
    """Weights that tell proposals apart; fresh ones give equal scores."""
    made = torch.Generator().manual_seed(seed)
    for name, value in model.state_dict().items():
        if name.endswith("running_var"):
            value.fill_(1.0)
        elif value.ndim > 1:
            # residuals add up, and boxes should stay near their anchors
            gain = 0.02 if "deltas" in name or "bbox_pred" in name else 0.7
            deviation = gain * (2 / value[0].numel()) ** 0.5
            value.copy_(torch.randn(value.shape, generator=made) * deviation)
    return model


def network(config, device="cpu"):
    from pipeline.detectors.detectron2 import network as detectron2
    from pipeline.detectors.detectron2.configuration import require_detectron2

    require_detectron2()
    torch.manual_seed(0)
    model = spread(detectron2.build_model(config))
    info = detectron2.config_info(config, detectron2.feature_width(model))
    return detectron2.detectron2_network(model, info, device=device)


def batch_of(pictures):
    return np.ascontiguousarray(np.stack(pictures).transpose(0, 3, 1, 2), np.float32)
