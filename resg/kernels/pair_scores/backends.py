"""Which backend scores these nodes, and in tiles of what size?"""

import torch
from torch import Tensor

from resg.kernels.dispatch import ENVIRONMENT, HAS_TRITON, is_interpreting, named_backend

BACKENDS = ("auto", "reference", "torch", "triton")
MEBIBYTE = 2**20
CPU_TILE_BYTES = 32 * MEBIBYTE  # all buffers of a tile stay in the last cache
GPU_TILE_BYTES = 512 * MEBIBYTE


def chosen_backend(requested: str, nodes: Tensor) -> str:
    """Backend by argument, else by RESG_KERNELS, else by device: `reference`, `torch` or `triton`.

    RESG_KERNELS speaks to all kernels; `scatter`, which has no meaning for pairs, is `torch` here.

    Raises:
        ValueError: the backend is unknown, or cannot run on these nodes.
    """
    if requested == "auto":
        requested = named_backend(requested)
        requested = "torch" if requested == "scatter" else requested
    if requested not in BACKENDS:
        raise ValueError(
            f"unknown backend {requested!r} of pair_scores: choose one of {', '.join(BACKENDS)} "
            f"(argument backend=, or {ENVIRONMENT} in the environment)"
        )
    if requested == "auto":
        is_float64 = nodes.dtype == torch.float64
        return "triton" if nodes.is_cuda and HAS_TRITON and not is_float64 else "torch"
    if requested == "triton":
        check_triton(nodes)
    return requested


def check_triton(nodes: Tensor) -> None:
    """Refuse nodes that Triton cannot work on.

    Raises:
        ValueError: Triton is missing, the nodes are not on a GPU, or they are float64.
    """
    if not HAS_TRITON:
        raise ValueError(
            "backend triton needs the package triton: pip install triton, or use torch"
        )
    if not nodes.is_cuda and not is_interpreting():
        raise ValueError(
            f"backend triton needs nodes on an NVIDIA GPU, these are on {nodes.device}: "
            "use backend torch"
        )
    if nodes.dtype == torch.float64:
        raise ValueError(
            "backend triton takes float32, float16 and bfloat16, not float64: use torch"
        )


def default_tile_bytes(nodes: Tensor) -> int:
    """Tile that is fast on the device of these nodes."""
    return GPU_TILE_BYTES if nodes.is_cuda else CPU_TILE_BYTES
