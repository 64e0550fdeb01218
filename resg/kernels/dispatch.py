"""What do all kernels ask of a call: which backend, is Triton here, which device, is it eager?"""

import os
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec

import torch
from torch import Tensor

ENVIRONMENT = "RESG_KERNELS"
HAS_TRITON = find_spec("triton") is not None


def named_backend(asked: str) -> str:
    """The caller's backend or, where that is `auto`, the environment's."""
    return os.environ.get(ENVIRONMENT, "auto") if asked == "auto" else asked


def is_interpreting() -> bool:
    """Whether Triton runs its kernels on the CPU; it reads this itself when they are defined."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def without_autocast(tensor: Tensor) -> AbstractContextManager[object]:
    """A context in which products keep the types that a kernel chose for them."""
    device = tensor.device.type
    if not torch.is_autocast_enabled(device):
        return nullcontext()
    return torch.autocast(device, enabled=False)


def in_autocast_type(tensor: Tensor) -> Tensor:
    """The tensor in the type of autocast where that is on."""
    device = tensor.device.type
    if not torch.is_autocast_enabled(device):
        return tensor
    return tensor.to(torch.get_autocast_dtype(device))


def on_device(tensor: Tensor) -> AbstractContextManager[object]:
    """A context in which Triton starts kernels where this tensor lies: on the current device."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


def is_eager(*tensors: Tensor) -> bool:
    """Whether nothing looks on: no compiler, and no tensors that only stand for others.

    Such calls go around torch.library, whose bookkeeping costs more than small batches take on a
    GPU.
    """
    return not torch.compiler.is_compiling() and all(
        type(tensor) is Tensor or type(tensor) is torch.nn.Parameter for tensor in tensors
    )
