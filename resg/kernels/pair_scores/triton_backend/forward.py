"""Pair scores on the GPU: products by cuBLAS, tile by tile, each followed by one Triton kernel.

V: [rows, d] regions of some images;  T: [runs * W, d] all captions' words;  S: [rows, runs * W]
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import triton.language as tl
from torch import Tensor
from triton.runtime.errors import OutOfResources

from resg.kernels.dispatch import is_interpreting
from resg.kernels.launcher import run_kernel
from resg.kernels.pair_scores.blocks import Ints
from resg.kernels.pair_scores.checks import PairInputs
from resg.kernels.pair_scores.torch_backend import write_scores
from resg.kernels.pair_scores.triton_backend.kernels.packed import packed_score_kernel
from resg.kernels.pair_scores.triton_backend.kernels.score import score_kernel
from resg.kernels.pair_scores.triton_backend.nodes import NodePacker, PackedBlock, PackedRuns
from resg.kernels.pair_scores.triton_backend.plans import (
    caption_runs,
    image_blocks,
    image_runs,
    is_one_block,
    large_images,
)
from resg.kernels.pair_scores.triton_backend.tuning import (
    DEFAULT_TUNING,
    HALF,
    LOG2_E,
    SINGLE,
    Tuning,
)

SMALLEST_TILE = 64
"""Rows of a tile at least: ptxas 12.8 forms some addresses of products with 16 or 32 columns from
registers that nothing wrote, and the kernel then reads outside its memory."""
LARGEST_TEMPERATURE = 10.0  # of the packed kernel: exp(-2 * 10) of float16's largest is normal
LARGEST_LAMBDA = 60.0  # of the packed kernel: exponents of cosines stay inside float32
TOP_EXPONENT = 15.0  # the packed kernel's largest exponential, in base 2

REFUSED: set[tuple[Any, ...]] = set()
"""Forms of the kernels that need more shared memory than the card has, found by a first launch."""


class ForwardPass:
    """One call's operands on the device, and the launches that score them."""

    def __init__(self, inputs: PairInputs, tuning: Tuning = DEFAULT_TUNING) -> None:
        self.inputs, self.settings, self.tuning = inputs, inputs.settings, tuning
        self.device = inputs.regions.device
        self.precision = SINGLE if inputs.regions.dtype == torch.float32 else HALF
        self.packer = NodePacker(inputs, self.precision)
        plan = caption_runs(inputs.word_ptr, tuning.width, tuning.slots, self.device)
        self.captions = self.packer.caption_runs(plan)
        self.only_block: PackedBlock | None = None
        self.refused: list[Ints] = []

    def forward(self) -> Tensor:
        """Scores `[images, captions]` in float32; 0 where either side has no node."""
        self.refused = []
        out = torch.zeros(self.inputs.shape, dtype=torch.float32, device=self.device)
        above = 0
        if self.is_packed():
            self._score_runs(out)
            above = self.tuning.regions
        for images in self.packed_blocks(self.precision.nodes.itemsize, above):
            self.run_block("scores", images, partial(self._score_block, images, out))
        for chosen in self.left_out():
            write_scores(out, self.inputs, chosen)
        return out

    def is_packed(self) -> bool:
        """Whether the packed kernel scores what it can.

        Images of about equally many regions that make one block do not need it: what it saves the
        device is little there, and it starts three kernels more. Such a block is also kept packed
        for the backward pass.
        """
        settings = self.settings
        return (
            self.precision is HALF
            and settings.normalise == "clipped_l2"
            and max(settings.temperatures) <= LARGEST_TEMPERATURE
            and (settings.pooling == "mean" or settings.lambda_lse <= LARGEST_LAMBDA)
            and not is_one_block(self.inputs.region_ptr, self._side(self.precision.nodes.itemsize))
        )

    def _score_runs(self, out: Tensor) -> None:
        """All images that fit into runs, tile by tile."""
        width = self.tuning.regions
        plan = image_runs(self.inputs.region_ptr, width, self.tuning.slots, self.device)
        images = self.packer.image_runs(plan)
        itemsize = self.precision.nodes.itemsize
        parts = math.ceil(plan.rows / max(self._side(itemsize), width)) if plan.rows else 0
        bounds = [len(plan) * part // parts for part in range(parts + 1)] if parts else [0]
        for top, bottom in pairwise(bounds):
            first_row, last_row = int(plan.starts[top]), int(plan.starts[bottom])
            V = images.nodes[first_row:last_row]
            for first, last in self.run_spans(len(V), itemsize):
                S = V @ self.captions.part(first, last)[0].T
                self.launch_packed(images, (top, bottom), (first, last), S, out)

    def launch_packed(
        self,
        images: PackedRuns,
        image_span: tuple[int, int],
        caption_span: tuple[int, int],
        S: Tensor,
        out: Tensor,
    ) -> None:
        """Write the scores of a span of runs of images with one of runs of captions."""
        (top, bottom), (first, last) = image_span, caption_span
        settings, tuning = self.settings, self.tuning
        factors = [temperature * LOG2_E for temperature in settings.temperatures]
        rows, words = images.plan, self.captions.plan
        directions = [(settings.words_attend, settings.regions_attend)]
        if all(directions[0]) and not tuning.together:
            directions = [(True, False), (False, True)]
        for step, (words_attend, regions_attend) in enumerate(directions):
            run_kernel(
                packed_score_kernel,
                (math.ceil((last - first) / tuning.runs), bottom - top),
                S,
                rows.start[top:bottom],
                rows.slot[top:bottom],
                rows.owner[top:bottom],
                images.gram[top:bottom],
                images.inv_length,
                rows.inv_count[top:bottom],
                words.slot[first:last],
                words.owner[first:last],
                self.captions.gram[first:last],
                self.captions.inv_length[first * tuning.width :],
                words.inv_count[first:last],
                out,
                last - first,
                S.stride(0),
                out.stride(0),
                int(rows.starts[top]),
                *factors,
                *(TOP_EXPONENT - factor for factor in factors),
                settings.lambda_lse * LOG2_E,
                0.5 if settings.direction == "both" else 1.0,
                R=tuning.regions,
                W=tuning.width,
                C=tuning.slots,
                RUNS=tuning.runs,
                T2I=words_attend,
                I2T=regions_attend,
                LSE=settings.pooling == "lse",
                ADD=step > 0,
                DOT=tl.float16,
                WIDE=tl.float32 if is_interpreting() else tl.bfloat16,
                num_warps=tuning.packed_warps,
                num_stages=1,
                maxnreg=tuning.packed_registers,
            )

    def _score_block(self, images: PackedBlock, out: Tensor) -> None:
        for first, last in self.run_spans(images.nodes.shape[0], self.precision.nodes.itemsize):
            S = images.nodes @ self.captions.part(first, last)[0].T
            self.launch_scores(images, first, last, S, out)

    def run_block(self, kernel: str, images: PackedBlock, work: Callable[[], None]) -> bool:
        """Do a block's work, or leave its images out where the kernel does not fit on the card.

        Triton refuses a kernel before its first launch, so nothing of the block is done then.
        """
        rows = images.plan.rows
        if not REFUSED or self._form(kernel, rows) not in REFUSED:
            try:
                work()
            except OutOfResources:
                REFUSED.add(self._form(kernel, rows))
            else:
                return True
        self.refused.append(images.plan.owners)
        return False

    def _form(self, kernel: str, rows: int) -> tuple[Any, ...]:
        """All that decides whether a kernel fits on the card."""
        return kernel, self.device, self.tuning, *self.constants(rows).values()

    def launch_scores(
        self, images: PackedBlock, first: int, last: int, S: Tensor, out: Tensor
    ) -> None:
        """Write one tile's scores, of a block of images with runs `first` to `last`."""
        plan = images.plan
        grid = (last - first, math.ceil(len(plan) / self.tuning.images))
        run_kernel(
            score_kernel,
            grid,
            *self.tile_operands(images, first, last, S),
            out,
            len(plan),
            plan.rows,
            S.stride(0),
            out.stride(0),
            *self.shifts(),
            self.settings.lambda_lse * LOG2_E,
            IMAGES=self.tuning.images,
            num_warps=self.tuning.warps,
            maxnreg=self.tuning.registers,
            **self.constants(plan.rows),
        )

    def tile_operands(
        self, images: PackedBlock, first: int, last: int, S: Tensor
    ) -> tuple[Tensor, ...]:
        """What the score kernel and the gradient kernel read of a tile."""
        _, gram, slot, owner, inv_length = self.captions.part(first, last)
        sides = images.gram, gram, slot, owner, images.inv_length, inv_length
        return S, *sides, images.plan.images, images.plan.counts, self.packer.scales

    def constants(self, rows: int) -> dict[str, Any]:
        """What the score kernel and the gradient kernel are compiled for."""
        safe_t2i, safe_i2t = self._is_safe()
        return {
            "num_stages": 1,
            "R": max(SMALLEST_TILE, 1 << (rows - 1).bit_length()),
            "W": self.tuning.width,
            "C": self.tuning.slots,
            "T2I": self.settings.words_attend,
            "I2T": self.settings.regions_attend,
            "CLIPPED": self.settings.normalise == "clipped_l2",
            "LSE": self.settings.pooling == "lse",
            "SAFE_T2I": safe_t2i,
            "SAFE_I2T": safe_i2t,
            "SQUARE": self.precision.square,
            "SPREAD": self.precision.spread,
            "DOT": self.precision.dot,
            "PRECISION": self.precision.product,
        }

    def _is_safe(self) -> tuple[bool, bool]:
        """Whether each direction subtracts the largest logit before its exponentials."""
        if self.settings.normalise == "plain":
            return True, True
        limits = self.precision.largest_temperatures
        words_attend, regions_attend = self.settings.temperatures
        return words_attend > limits[0], regions_attend > limits[1]

    def shifts(self) -> tuple[float, float]:
        """Added to the exponents of each direction, in base 2."""
        safe_t2i, safe_i2t = self._is_safe()
        words_attend, regions_attend = self.settings.temperatures
        return (
            self.precision.shift(words_attend, 15.0, safe_t2i),
            self.precision.shift(regions_attend, 8.0, safe_i2t),
        )

    def packed_blocks(self, bytes_per_element: int, above: int = 0) -> Iterator[PackedBlock]:
        """Images with more than `above` regions, in blocks that make tiles about square.

        A block that holds all images is kept: the backward pass finds them packed.
        """
        if above == 0 and self.only_block is not None:
            yield self.only_block
            return
        side = self._side(bytes_per_element)
        plans = image_blocks(self.inputs.region_ptr, side, above, self.device)
        for plan in plans:
            images = self.packer.image_block(plan)
            if above == 0 and len(plans) == 1:
                self.only_block = images
            yield images

    def _side(self, bytes_per_element: int) -> int:
        """Rows of a square tile."""
        return math.isqrt(max(self.inputs.tile_bytes // bytes_per_element, 1))

    def run_spans(self, rows: int, bytes_per_element: int) -> Iterator[tuple[int, int]]:
        """First and last run of each tile that these rows make within `tile_bytes`."""
        num_runs = len(self.captions.plan)
        run_bytes = rows * self.tuning.width * bytes_per_element
        parts = math.ceil(num_runs * run_bytes / max(self.inputs.tile_bytes, run_bytes))
        bounds = [num_runs * part // max(parts, 1) for part in range(parts + 1)]
        yield from pairwise(bounds)

    def left_out(self) -> Iterator[tuple[Ints, Ints]]:
        """Images and captions whose pairs no tile held: too many regions or words, or refused."""
        too_large = large_images(self.inputs.region_ptr)
        too_long = self.captions.plan.left_out
        if not (too_large.size or too_long.size or self.refused):
            return
        every_image, every_caption = (np.arange(count) for count in self.inputs.shape)
        if too_large.size:
            yield too_large, every_caption
        if too_long.size:
            yield np.setdiff1d(every_image, too_large), too_long
        if self.refused:
            yield np.concatenate(self.refused), np.setdiff1d(every_caption, too_long)
