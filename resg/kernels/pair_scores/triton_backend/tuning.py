"""Launch shapes of the kernels of pair scores, and how they compute each type of nodes."""

import math
from dataclasses import dataclass

import torch
import triton.language as tl

LOG2_E = math.log2(math.e)


@dataclass(frozen=True)
class Tuning:
    """Shapes of tiles and launches; `benchmarks/pair_scores.py tune` measures them.

    Attributes:
        width: words of a run.
        slots: most owners in a run.
        regions: regions of a run of images, and the most of an image that the packed kernel takes.
        runs: runs of captions that one program of the packed kernel works through.
        together: whether it scores both directions in one launch.
        packed_warps: warps of one of its programs. Programs of 4 warps get Hopper's group products
            from Triton, and ptxas 12.8 then reads their operands from an address that nothing
            wrote; programs of 2 warps get the older instructions, which run as fast here.
        packed_registers: most registers of its threads; fewer let more programs share a
            multiprocessor.
        images: images that one program of the score kernel works through.
        warps: warps of one of its programs.
        registers: most registers of its threads.
        backward_warps: warps of a program of the gradient kernel.
    """

    width: int = 64
    slots: int = 16
    regions: int = 64
    runs: int = 8
    together: bool = False
    packed_warps: int = 2
    packed_registers: int = 255
    images: int = 8
    warps: int = 4
    registers: int = 255
    backward_warps: int = 8


DEFAULT_TUNING = Tuning()


@dataclass(frozen=True)
class Precision:
    """How a type of nodes is computed.

    Attributes:
        nodes: type of the nodes, of S and of its gradient.
        dot: the same as `nodes`, in Triton's terms.
        product: how Triton multiplies matrices of that type.
        square: factor on squared logits before they are summed by a product of type `dot`.
        spread: factor on the squared lengths of attended vectors, likewise.
        largest_temperatures: up to here exponentials need no maximum subtracted.
        is_scaled: whether nodes are brought to length 1 at most.
    """

    nodes: torch.dtype
    dot: tl.dtype
    product: str
    square: float
    spread: float
    largest_temperatures: tuple[float, float]
    is_scaled: bool

    def shift(self, temperature: float, top: float, is_safe: bool) -> float:
        """Exponent (base 2) that brings the largest exponential near `2 ** top` in float16."""
        if self.nodes == torch.float32:
            return 0.0
        return top if is_safe else top - temperature * LOG2_E


HALF = Precision(torch.float16, tl.float16, "ieee", 2.0**12, 2.0**-8, (10.0, 7.5), True)
SINGLE = Precision(torch.float32, tl.float32, "tf32x3", 1.0, 1.0, (20.0, 20.0), False)
