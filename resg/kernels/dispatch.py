"""Choose a backend for a call, and set PyTorch up for it: device, autocast, eager or compiled."""

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

ENVIRONMENT = "RESG_KERNELS"
HAS_TRITON = find_spec("triton") is not None
HAS_SCATTER = find_spec("torch_scatter") is not None
TRITON_DTYPES = (torch.float16, torch.bfloat16, torch.float32)


@dataclass(frozen=True)
class Backends:
    """The backends of one kernel and the choice among them, the same for all kernels.

    Attributes:
        kernel: name of the kernel, for messages.
        names: of its backends; `reference`, `torch` and `triton` are always among them.
        triton_width: widest nodes or heads that the Triton backend takes; None for any.
    """

    kernel: str
    names: tuple[str, ...]
    triton_width: int | None = None

    def choose(self, asked: str, device_type: str, dtype: torch.dtype, width: int) -> str:
        """Name the backend that will run.

        torch.compile traces this function: a compiled program keeps the backend of its first call.

        Args:
            asked: the caller's argument, one of `names` or `auto`. `auto` reads the environment
                variable RESG_KERNELS; where that is `auto` or unset too, it takes `triton` if
                Triton can run on the inputs and `torch` if not. RESG_KERNELS is meant for all
                kernels, so a kernel without a `scatter` backend takes `torch` in its place.
            device_type: of the inputs, as in `torch.device.type`.
            dtype: of the inputs.
            width: of a node or head.

        Raises:
            ValueError: no backend has this name, or it cannot run on such inputs.
        """
        name = asked
        if asked == "auto":
            name = os.environ.get(ENVIRONMENT, "auto")
            if name == "scatter" and name not in self.names:
                name = "torch"
        if name == "auto":
            obstacle = self._triton_obstacle(device_type, dtype, width)
            return "triton" if obstacle is None else "torch"
        if name not in self.names:
            raise ValueError(
                f"{self.kernel} has no backend {name!r}; choose one of auto, "
                f"{', '.join(self.names)} (argument backend, or environment variable "
                f"{ENVIRONMENT})."
            )
        if name == "triton":
            obstacle = self._triton_obstacle(device_type, dtype, width)
            if obstacle is not None:
                raise ValueError(f"backend triton cannot run: {obstacle}. Use backend='torch'.")
        if name == "scatter" and not HAS_SCATTER:
            raise ValueError(
                "backend scatter needs torch-scatter: pip install --no-build-isolation "
                "'resg[scatter]'. Or use backend='torch'."
            )
        return name

    def _triton_obstacle(self, device_type: str, dtype: torch.dtype, width: int) -> str | None:
        if not HAS_TRITON:
            return "the package triton is not installed"
        if device_type != "cuda" and not is_interpreting():
            return f"the inputs are on {device_type}, it needs a GPU (or TRITON_INTERPRET=1)"
        if dtype not in TRITON_DTYPES:
            return f"it does not take {dtype}"
        if self.triton_width is not None and width > self.triton_width:
            return f"it takes a width of {self.triton_width} at most, this one is {width}"
        return None


@cache
def backend_module(kernel: str, backend: str) -> Any:
    """The module of a kernel's backend, imported when first used: what it needs may be missing."""
    return import_module(f"resg.kernels.{kernel}.{backend}_backend")


def is_interpreting() -> bool:
    """Whether Triton interprets its kernels on the CPU, which it decides when they are defined."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def is_eager(*tensors: Tensor) -> bool:
    """Whether a call is neither being compiled nor made on subclasses such as fake tensors.

    Eager calls bypass torch.library, whose bookkeeping takes longer than a small batch does on a
    GPU.
    """
    return not torch.compiler.is_compiling() and all(
        type(tensor) is Tensor or type(tensor) is torch.nn.Parameter for tensor in tensors
    )


def in_autocast_type(tensor: Tensor) -> Tensor:
    """Convert the tensor to the autocast type where autocast is on."""
    device = tensor.device.type
    if not torch.is_autocast_enabled(device):
        return tensor
    return tensor.to(torch.get_autocast_dtype(device))


def without_autocast(tensor: Tensor) -> AbstractContextManager[object]:
    """Turn autocast off, so that products keep the types that a kernel chose for them."""
    device = tensor.device.type
    if not torch.is_autocast_enabled(device):
        return nullcontext()
    return torch.autocast(device, enabled=False)


def on_device(tensor: Tensor) -> AbstractContextManager[object]:
    """Make the tensor's GPU the current one, on which Triton launches."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()
