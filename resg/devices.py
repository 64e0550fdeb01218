"""Which device does `--device` mean?"""

import os
import re

import torch

from resg.errors import SettingsError


def choose_device(name: str) -> torch.device:
    """The device of that name; `auto` is the GPU if there is one, else the CPU.

    Without a number, a process that torchrun started takes the GPU of its own rank.

    A GPU also becomes the current one of this process, where kernels and streams run that name no
    device. On the CPU, PyTorch takes no more threads than a container has cores, unless
    OMP_NUM_THREADS says how many.

    Raises:
        SettingsError: there is no device of that name, or CUDA is requested and not available.
    """
    if re.fullmatch(r"auto|cpu|cuda(:\d+)?", name) is None:
        raise SettingsError(f"expected --device auto, cpu, cuda or cuda:NUMBER, got {name!r}.")
    has_gpu = torch.cuda.is_available()
    if name.startswith("cuda") and not has_gpu:
        raise SettingsError(
            "expected an NVIDIA GPU for --device cuda, PyTorch sees none. Use --device cpu, or "
            "install a CUDA build of PyTorch."
        )
    if ":" in name and int(os.environ.get("LOCAL_WORLD_SIZE", "1")) > 1:
        raise SettingsError(
            f"torchrun gives each process a GPU of its own: expected --device cuda, got {name}."
        )
    if name in ("auto", "cuda"):
        name = f"cuda:{local_rank()}" if has_gpu else "cpu"
    device = torch.device(name)
    if device.type == "cuda":
        if device.index >= torch.cuda.device_count():
            raise SettingsError(
                f"expected one of {torch.cuda.device_count()} GPUs for --device, counted from "
                f"cuda:0, got {name}."
            )
        torch.cuda.set_device(device)
    elif "OMP_NUM_THREADS" not in os.environ:
        from dask.system import CPU_COUNT  # knows of a container's limits, PyTorch does not

        torch.set_num_threads(min(torch.get_num_threads(), CPU_COUNT))
    return device


def device_name(device: torch.device) -> str:
    """Name of a GPU, or `cpu` and how many threads PyTorch takes."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"cpu ({threads} threads)" if threads > 1 else "cpu (1 thread)"


def local_rank() -> int:
    """Index of this process on its machine, as torchrun sets it; 0 without torchrun."""
    return int(os.environ.get("LOCAL_RANK", "0"))
