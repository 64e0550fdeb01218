"""Both dialects of the attribute detector; what needs no detectron2."""

from pathlib import Path

import pytest
import torch
from dialects import ANCHORS, caffe_dialect, detectron2_dialect, heads

from pipeline.detectors.detectron2.visual_genome import canonical_weights
from pipeline.errors import DataError

FILE = Path("weights.pth")


def test_both_dialects_become_the_same_weights():
    ours = heads()
    for name, write in (("caffe", caffe_dialect), ("detectron2", detectron2_dialect)):
        weights, dialect = canonical_weights(write(ours), FILE)
        assert dialect == name
        assert set(weights) == set(ours)
        for key, value in ours.items():
            assert torch.allclose(weights[key], value, atol=1e-6), key


def test_the_caffe_dialect_has_twice_the_logits():
    logits = caffe_dialect(heads())["proposal_generator.rpn_head.objectness_logits.bias"]
    assert len(logits) == 2 * ANCHORS


def test_a_softmax_over_two_logits_is_the_sigmoid_of_the_one():
    ours, written = heads(), caffe_dialect(heads())
    name = "proposal_generator.rpn_head.objectness_logits.bias"
    pairs = written[name].reshape(2, ANCHORS)
    assert torch.allclose(pairs.softmax(0)[1], ours[name].sigmoid(), atol=1e-6)


def test_canonical_weights_stay_as_they_are():
    ours = heads()
    weights, dialect = canonical_weights(ours, FILE)
    assert dialect == "canonical"
    assert all(weights[name] is ours[name] for name in ours)


def test_names_of_a_parallel_training_are_known():
    wrapped = {f"module.{name}": value for name, value in caffe_dialect(heads()).items()}
    weights, _ = canonical_weights(wrapped, FILE)
    assert set(weights) == set(heads())


def test_another_architecture_is_told_its_way():
    with pytest.raises(DataError, match="detectron2:CONFIG"):
        canonical_weights({"backbone.conv.weight": torch.ones(1)}, FILE)


def test_keys_of_one_dialect_with_widths_of_the_other_are_told():
    mixed = caffe_dialect(heads())
    for part in ("weight", "bias"):
        name = f"proposal_generator.rpn_head.objectness_logits.{part}"
        mixed[name] = mixed[name][:ANCHORS]
    with pytest.raises(DataError, match="12 logits of objectness, expected 24"):
        canonical_weights(mixed, FILE)


def test_a_checkpoint_without_its_class_scores_is_told():
    part = caffe_dialect(heads())
    del part["roi_heads.box_predictor.cls_score.weight"]
    with pytest.raises(DataError, match="cls_score"):
        canonical_weights(part, FILE)
