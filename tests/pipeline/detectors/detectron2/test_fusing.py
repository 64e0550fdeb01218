"""Fused blocks compute what detectron2's blocks compute; on a CPU, in separate steps."""

import copy

import pytest
import torch
from blocks import pictures
from networks import batch_of, network, slim

pytest.importorskip("detectron2", reason="detectron2 is not installed")

from pipeline.detectors.detectron2.fusing import FusedBlock, fuse_blocks

pytestmark = [pytest.mark.detectron2, pytest.mark.filterwarnings("ignore")]


def with_norms(blocks):
    """Norms that do something, as trained ones do."""
    made = torch.Generator().manual_seed(5)
    for name, value in blocks.state_dict().items():
        if ".norm." in name and value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=made) + 0.5)
    return blocks


@pytest.mark.parametrize("norm", ["FrozenBN", "BN"])
def test_fused_blocks_give_what_the_blocks_give(norm):
    config = slim("c4")
    config.MODEL.RESNETS.NORM = norm
    blocks = with_norms(network(config).module.model.roi_heads.res5).eval()
    fused = copy.deepcopy(blocks)
    fuse_blocks(fused)
    assert all(isinstance(block, FusedBlock) for block in fused)
    maps = torch.rand(3, 64, 6, 6, generator=torch.Generator().manual_seed(1)) - 0.3
    with torch.inference_mode():
        expected, came = blocks(maps), fused(maps)
    assert expected.shape == came.shape
    assert (expected - came).abs().max() < 1e-5 * expected.abs().max()


def test_the_whole_network_is_fused_and_says_the_same():
    ours, fused = network(slim("c4")), network(slim("c4"))
    fuse_blocks(fused.module.model)
    kinds = [type(module).__name__ for module in fused.module.model.modules()]
    assert "BottleneckBlock" not in kinds
    assert kinds.count("FusedBlock") == 3 + 4 + 6 + 3  # of a ResNet-50
    batch = batch_of(pictures()[:1])
    (one,), (two,) = ours.start(batch)(), fused.start(batch)()
    assert abs(one.features - two.features).max() < 1e-3 * abs(one.features).max()


def test_blocks_without_batch_norms_stay():
    config = slim("c4")
    config.MODEL.RESNETS.NORM = "LN"
    model = network(config).module.model
    fuse_blocks(model)
    assert not any(isinstance(module, FusedBlock) for module in model.modules())
