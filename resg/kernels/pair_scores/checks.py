"""The inputs of a call of `pair_scores`, and whether they fit together."""

from dataclasses import dataclass

import torch
from torch import Tensor

from resg.kernels.pair_scores.settings import PairSettings

NODE_TYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
MEBIBYTE = 2**20
CPU_TILE_BYTES = 32 * MEBIBYTE  # all buffers of a tile stay in the last cache
GPU_TILE_BYTES = 512 * MEBIBYTE


@dataclass(frozen=True)
class PairInputs:
    """What a backend computes with.

    Attributes:
        regions: `[total regions, d]` nodes of all images, one image after another.
        words: `[total words, d]` nodes of all captions, of the same type and on the same device.
        region_ptr: `[images + 1]` offsets of the images' regions, int64 on the CPU.
        word_ptr: `[captions + 1]` offsets of the captions' words, int64 on the CPU.
        settings: direction, temperatures, normalisation and pooling.
        tile_bytes: memory of the tile of logits that is worked on at a time.
    """

    regions: Tensor
    words: Tensor
    region_ptr: Tensor
    word_ptr: Tensor
    settings: PairSettings
    tile_bytes: int

    @classmethod
    def checked(
        cls,
        regions: Tensor,
        words: Tensor,
        region_ptr: Tensor,
        word_ptr: Tensor,
        settings: PairSettings,
        tile_bytes: int,
    ) -> "PairInputs":
        """Bring the offsets to the host, where they are read.

        Raises:
            ValueError: offsets do not run from 0 to the number of nodes, or fall.
        """
        region_ptr = region_ptr.to("cpu", torch.int64)
        word_ptr = word_ptr.to("cpu", torch.int64)
        _check_pointer("region_ptr", region_ptr, regions)
        _check_pointer("word_ptr", word_ptr, words)
        return cls(regions, words, region_ptr, word_ptr, settings, tile_bytes)

    @property
    def shape(self) -> tuple[int, int]:
        """Images and captions, the shape of the scores."""
        return len(self.region_ptr) - 1, len(self.word_ptr) - 1

    @property
    def working_dtype(self) -> torch.dtype:
        """Type of scores and sums: float64 for float64 nodes, float32 for all others."""
        return working_dtype(self.regions)


def working_dtype(nodes: Tensor) -> torch.dtype:
    """Type of the scores of such nodes: float64 for float64, float32 for all others."""
    return torch.float64 if nodes.dtype == torch.float64 else torch.float32


def check_nodes(regions: Tensor, words: Tensor, region_ptr: Tensor, word_ptr: Tensor) -> None:
    """Compare shapes, types and devices of nodes and offsets; no value is read.

    Raises:
        ValueError: something does not fit, with what came on both sides.
    """
    if regions.dim() != 2 or words.dim() != 2 or regions.shape[1] != words.shape[1]:
        raise ValueError(
            "regions and words are [nodes, d] with the same d; got regions "
            f"{list(regions.shape)} and words {list(words.shape)}"
        )
    if regions.dtype != words.dtype or regions.dtype not in NODE_TYPES:
        raise ValueError(
            "regions and words are both float32, float16, bfloat16 or float64; got regions "
            f"{regions.dtype} and words {words.dtype}: convert them with .to(dtype)"
        )
    if regions.device != words.device:
        raise ValueError(
            f"regions are on {regions.device} and words on {words.device}: move them to one device"
        )
    for name, ptr in (("region_ptr", region_ptr), ("word_ptr", word_ptr)):
        if ptr.dim() != 1 or len(ptr) == 0 or ptr.dtype not in (torch.int64, torch.int32):
            raise ValueError(
                f"{name} is [owners + 1] of int64 or int32; got {list(ptr.shape)} of {ptr.dtype}"
            )


def checked_tile_bytes(asked: int | None, nodes: Tensor) -> int:
    """The tile size asked for, or one that is fast on the device of these nodes.

    Raises:
        ValueError: it is not above 0.
    """
    if asked is None:
        return GPU_TILE_BYTES if nodes.is_cuda else CPU_TILE_BYTES
    if asked < 1:
        raise ValueError(f"tile_bytes is a number of bytes above 0, not {asked!r}")
    return asked


def _check_pointer(name: str, ptr: Tensor, nodes: Tensor) -> None:
    bounds = ptr.numpy()
    if bounds[0] != 0 or bounds[-1] != len(nodes):
        raise ValueError(
            f"{name} runs from 0 to the number of nodes, {len(nodes)} (nodes {list(nodes.shape)}); "
            f"got {bounds[0]} to {bounds[-1]}"
        )
    falls = bounds[1:] < bounds[:-1]
    if falls.any():
        at = int(falls.argmax())
        raise ValueError(
            f"{name} never falls; it goes from {bounds[at]} at {at} to {bounds[at + 1]}"
        )
