"""The same random weights in both published dialects of the attribute detector."""

import torch

CLASSES, ATTRIBUTES, ANCHORS, WIDTH = 7, 5, 12, 64


def heads(seed=0):
    """Canonical weights of the heads: background and 'none' last, one logit an anchor."""
    made = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.randn(*shape, generator=made) * 0.1

    predictor, attributes = "roi_heads.box_predictor.", "roi_heads.attributes."
    rpn = "proposal_generator.rpn_head."
    return {
        rpn + "objectness_logits.weight": random(ANCHORS, 16, 1, 1),
        rpn + "objectness_logits.bias": random(ANCHORS),
        rpn + "anchor_deltas.weight": random(ANCHORS * 4, 16, 1, 1),
        rpn + "anchor_deltas.bias": random(ANCHORS * 4),
        predictor + "cls_score.weight": random(CLASSES + 1, WIDTH),
        predictor + "cls_score.bias": random(CLASSES + 1),
        predictor + "bbox_pred.weight": random(CLASSES * 4, WIDTH),
        predictor + "bbox_pred.bias": random(CLASSES * 4),
        attributes + "embedding.weight": random(CLASSES + 1, 8),
        attributes + "hidden.weight": random(24, WIDTH + 8),
        attributes + "hidden.bias": random(24),
        attributes + "score.weight": random(ATTRIBUTES + 1, 24),
        attributes + "score.bias": random(ATTRIBUTES + 1),
    }


def _renamed(weights, names):
    moved = {}
    for name, value in weights.items():
        new = name
        for ours, theirs in names.items():
            new = new.replace(f"attributes.{ours}.", f"box_predictor.{theirs}.")
        moved[new] = value
    return moved


def detectron2_dialect(weights):
    names = {"embedding": "cls_embedding", "hidden": "fc_attr", "score": "attr_score"}
    return _renamed(weights, names)


def caffe_dialect(weights):
    """Background first; two logits an anchor whose difference is the one."""
    names = {"embedding": "cls_embed", "hidden": "attr_linear1", "score": "attr_linear2"}
    moved = _renamed(weights, names)
    predictor = "roi_heads.box_predictor."
    for name in list(moved):
        part = name.removeprefix(predictor).split(".")[0]
        if part in ("cls_score", "cls_embed", "attr_linear2"):
            moved[name] = moved[name].roll(1, 0)
        elif part == "bbox_pred":
            moved[name] = torch.cat([torch.full_like(moved[name][:4], 9.0), moved[name]])
        elif "objectness_logits" in name:
            shift = torch.linspace(-1, 1, ANCHORS).reshape(-1, *[1] * (moved[name].ndim - 1))
            absent = shift.expand_as(moved[name]).clone()
            moved[name] = torch.cat([absent, moved[name] + absent])
    return moved
