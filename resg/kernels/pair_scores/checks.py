"""Do nodes and pointers fit together?"""

import torch
from torch import Tensor

NODE_TYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def check_nodes(regions: Tensor, words: Tensor, region_ptr: Tensor, word_ptr: Tensor) -> None:
    """Refuse nodes and pointers whose shapes, types or devices do not fit; values are not read.

    Raises:
        ValueError: with what came on both sides.
    """
    if regions.dim() != 2 or words.dim() != 2 or regions.shape[1] != words.shape[1]:
        raise ValueError(
            "regions and words are [nodes, d] with the same d; came regions "
            f"{list(regions.shape)} and words {list(words.shape)}"
        )
    if regions.dtype != words.dtype or regions.dtype not in NODE_TYPES:
        raise ValueError(
            "regions and words are both float32, float16, bfloat16 or float64; came regions "
            f"{regions.dtype} and words {words.dtype}: convert them with .to(dtype)"
        )
    if regions.device != words.device:
        raise ValueError(
            f"regions are on {regions.device} and words on {words.device}: move them to one device"
        )
    for name, ptr in (("region_ptr", region_ptr), ("word_ptr", word_ptr)):
        if ptr.dim() != 1 or len(ptr) == 0 or ptr.dtype not in (torch.int64, torch.int32):
            raise ValueError(
                f"{name} is [owners + 1] of int64 or int32; came {list(ptr.shape)} of {ptr.dtype}"
            )


def check_pointer(name: str, ptr: Tensor, nodes: Tensor) -> None:
    """Refuse a pointer that does not walk from 0 to the last node; `ptr` is on the CPU.

    Raises:
        ValueError: with what came and what was expected.
    """
    bounds = ptr.numpy()
    if bounds[0] != 0 or bounds[-1] != len(nodes):
        raise ValueError(
            f"{name} runs from 0 to the number of nodes, {len(nodes)} (nodes {list(nodes.shape)}); "
            f"came {bounds[0]} to {bounds[-1]}"
        )
    falls = bounds[1:] < bounds[:-1]
    if falls.any():
        at = int(falls.argmax())
        raise ValueError(
            f"{name} never falls; it goes from {bounds[at]} at {at} to {bounds[at + 1]}"
        )
