"""Which device does `--device` mean for a detector?"""

import os
import re
from typing import Literal

from pipeline.errors import SettingsError

Library = Literal["torch", "onnxruntime"]
"""What runs a detector's network."""


def choose_device(name: str, library: Library) -> str:
    """The device of that name, `cpu` or `cuda:N`.

    `auto` is a GPU if the library can use one, else the CPU. Without a number, a process that
    torchrun started takes the GPU of its own rank.

    Raises:
        SettingsError: not a device, or a GPU that the library cannot use.
    """
    if re.fullmatch(r"auto|cpu|cuda(:\d+)?", name) is None:
        raise SettingsError(f"expected --device auto, cpu, cuda or cuda:NUMBER, got {name!r}.")
    if name == "cpu":
        return name
    fault = _fault(library)
    if fault:
        if name == "auto":
            return "cpu"
        raise SettingsError(f"--device {name} {fault}")
    import torch  # counts GPUs, for ONNX Runtime does not

    count = torch.cuda.device_count()
    _, _, number = name.partition(":")
    index = int(number or os.environ.get("LOCAL_RANK", "0"))
    if number and int(os.environ.get("LOCAL_WORLD_SIZE", "1")) > 1:
        raise SettingsError(
            f"torchrun gives each process a GPU of its own: expected --device cuda, got {name}."
        )
    if index >= count:
        raise SettingsError(
            f"expected one of {count} GPUs for --device, counted from cuda:0, got cuda:{index}."
        )
    return f"cuda:{index}"


def _fault(library: Library) -> str:
    """Why the library can use no GPU, as it goes on after `--device NAME`; empty if it can."""
    if library == "onnxruntime":
        import onnxruntime

        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            return (
                "needs onnxruntime-gpu; this ONNX Runtime runs on "
                f"{onnxruntime.get_device()} only. Install it, or use --device cpu."
            )
    import torch

    if not torch.cuda.is_available():
        return "needs a GPU, torch finds none; use --device cpu."
    return ""
