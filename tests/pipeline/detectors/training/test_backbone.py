"""The trunk: its maps, its padding, and weights under their published names."""

import pytest
import torch

from pipeline.detectors.training.backbone import (
    EfficientNetLite,
    SameConv2d,
    load_imagenet_weights,
    scaled_channels,
)
from pipeline.errors import DataError


@pytest.mark.parametrize(
    ("size", "channels", "blocks"), [("lite0", (40, 112, 320), 16), ("lite2", (48, 120, 352), 21)]
)
def test_maps_have_strides_8_16_and_32(size, channels, blocks):
    trunk = EfficientNetLite(size).eval()
    assert trunk.channels == channels
    assert len(trunk.blocks) == blocks
    with torch.no_grad():
        maps, head = trunk(torch.zeros(1, 3, 64, 96))
    shapes = [tuple(level.shape[1:]) for level in maps]
    assert shapes == [(channels[0], 8, 12), (channels[1], 4, 6), (channels[2], 2, 3)]
    assert tuple(head.shape) == (1, 1280, 2, 3)


@pytest.mark.parametrize(
    ("base", "factor", "channels"), [(320, 1.1, 352), (16, 1.1, 16), (112, 1.1, 120), (40, 1, 40)]
)
def test_channels_are_multiples_of_8(base, factor, channels):
    assert scaled_channels(base, factor) == channels


def test_padding_of_stride_2_is_below_and_right():
    convolution = SameConv2d(1, 1, 3, 2, bias=False)
    torch.nn.init.ones_(convolution.weight)
    image = torch.zeros(1, 1, 4, 4)
    image[0, 0, 0, 0] = 1
    # padded on both sides, the first window would start at -1 and the corner count twice
    assert convolution(image).squeeze().tolist() == [[1, 0], [0, 0]]
    image[0, 0, 0, 0], image[0, 0, 3, 3] = 0, 1
    assert convolution(image).squeeze().tolist() == [[0, 0], [0, 1]]


def published(trunk):
    """The trunk's weights under the names of the package efficientnet-lite-pytorch."""
    parts = {
        "stem.0": "_conv_stem",
        "stem.1": "_bn0",
        "head.0": "_conv_head",
        "head.1": "_bn1",
        "expand.0": "_expand_conv",
        "expand.1": "_bn0",
        "depthwise.0": "_depthwise_conv",
        "depthwise.1": "_bn1",
        "project.0": "_project_conv",
        "project.1": "_bn2",
    }
    renamed = {}
    for name, value in trunk.state_dict().items():
        pieces = name.split(".")
        prefix = [f"_blocks.{pieces[1]}"] if pieces[0] == "blocks" else []
        first, second, last = pieces[-3:]
        renamed[".".join([*prefix, parts[f"{first}.{second}"], last])] = value
    return renamed | {"_fc.weight": torch.zeros(1000, 1280), "_fc.bias": torch.zeros(1000)}


def test_published_weights_fill_every_parameter(tmp_path):
    source = EfficientNetLite("lite0")
    torch.save(published(source), tmp_path / "lite0.pth")
    trunk = EfficientNetLite("lite0")
    load_imagenet_weights(trunk, tmp_path / "lite0.pth")
    own = trunk.state_dict()
    assert all(torch.equal(own[name], value) for name, value in source.state_dict().items())


def test_weights_of_another_size_are_refused(tmp_path):
    torch.save(published(EfficientNetLite("lite0")), tmp_path / "lite0.pth")
    with pytest.raises(DataError, match="does not fit the model"):
        load_imagenet_weights(EfficientNetLite("lite2"), tmp_path / "lite0.pth")
