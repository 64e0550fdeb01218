"""The trunk: its maps, its padding, and weights under their published names."""

import pytest
import torch

from pipeline.detectors.training.backbone import (
    EfficientNetLite,
    NormedConv2d,
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
    convolution = NormedConv2d(1, 1, 3, 2)
    torch.nn.init.ones_(convolution.weight)
    convolution.norm.eps = 0
    image = torch.zeros(1, 1, 4, 4)
    image[0, 0, 0, 0] = 1
    # padded on both sides, the first window would start at -1 and the corner count twice
    assert convolution(image).squeeze().tolist() == [[1, 0], [0, 0]]
    image[0, 0, 0, 0], image[0, 0, 3, 3] = 0, 1
    assert convolution(image).squeeze().tolist() == [[0, 0], [0, 1]]


@pytest.mark.parametrize(("kernel", "stride", "groups"), [(1, 1, 1), (3, 1, 4), (5, 1, 4)])
def test_a_normed_convolution_is_a_convolution_and_a_norm_in_evaluation(kernel, stride, groups):
    torch.manual_seed(0)
    convolution = NormedConv2d(4, 8, kernel, stride, groups)
    norm = convolution.norm
    torch.nn.init.uniform_(norm.weight, 0.5, 2)
    torch.nn.init.normal_(norm.bias)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    images = torch.randn(2, 4, 8, 8)
    plain = torch.nn.functional.conv2d(
        images, convolution.weight, None, stride, padding=kernel // 2, groups=groups
    )
    convolution.train()  # the statistics stay as they are in training too
    mean = norm.running_mean.clone()
    expected = norm.eval()(plain)
    assert torch.allclose(convolution(images), expected, atol=1e-5)
    assert torch.equal(norm.running_mean, mean)
    convolution(images).sum().backward()
    assert norm.weight.grad is not None
    assert norm.bias.grad is not None


def published(trunk):
    """The trunk's weights under the names of the package efficientnet-lite-pytorch."""
    parts = {
        "stem": "_conv_stem",
        "stem.norm": "_bn0",
        "head": "_conv_head",
        "head.norm": "_bn1",
        "expand": "_expand_conv",
        "expand.norm": "_bn0",
        "depthwise": "_depthwise_conv",
        "depthwise.norm": "_bn1",
        "project": "_project_conv",
        "project.norm": "_bn2",
    }
    renamed = {}
    for name, value in trunk.state_dict().items():
        pieces = name.split(".")
        prefix = [f"_blocks.{pieces[1]}"] if pieces[0] == "blocks" else []
        part = ".".join(pieces[2:-1] if prefix else pieces[:-1])
        renamed[".".join([*prefix, parts[part], pieces[-1]])] = value
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
