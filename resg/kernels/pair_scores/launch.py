"""Pair scores on the GPU: products by cuBLAS, tile by tile, each followed by one Triton kernel.

V: [I * rows, d] a block of images;  T: [runs * W, d] all captions' words;  S: [I * rows, runs * W]
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch
import triton.language as tl
from torch import Tensor
from triton.runtime.errors import OutOfResources

from resg.kernels.pair_scores.composed import write_composed_scores
from resg.kernels.pair_scores.packing import ImageBlock, Runs, image_block, image_groups, pack_runs
from resg.kernels.pair_scores.reference import NORM_FLOOR
from resg.kernels.pair_scores.score_kernel import score_kernel
from resg.kernels.pair_scores.settings import PairSettings
from resg.placement import sent

LOG2_E = math.log2(math.e)
LEAST_NORM = 1e-30


@dataclass(frozen=True)
class Tuning:
    """Shapes of tiles and launches; README.md says which of them were measured.

    Attributes:
        width: words of a run.
        slots: most captions in a run.
        images: images that one program of the score kernel works through, at least 2: with 1 the
            compiled kernel read outside its operands on an H200, for a reason not yet found.
        warps: warps of a program.
        stages: depth of its software pipeline.
        registers: most registers of a thread; fewer let more programs share a multiprocessor.
        backward_warps: warps of a program of the gradient kernel.
    """

    width: int = 64
    slots: int = 16
    images: int = 8
    warps: int = 4
    stages: int = 1
    registers: int = 255
    backward_warps: int = 8

    def __post_init__(self) -> None:
        if self.images < 2:
            raise ValueError(f"a program works through at least 2 images, not {self.images}")


DEFAULT_TUNING = Tuning()
REFUSED: set[tuple[Any, ...]] = set()
"""Forms of the kernels that need more shared memory than the card has, found by a first launch."""


@dataclass(frozen=True)
class Precision:
    """How a type of nodes is computed.

    Attributes:
        nodes: type of the nodes, of S and of its gradient.
        dot: the same as `nodes`, in Triton's words.
        product: how Triton multiplies matrices of that type.
        square: factor on squared logits before they are summed by a product of type `dot`.
        spread: factor on the squared lengths of attended vectors, likewise.
        largest_temperatures: up to here exponentials need no maximum subtracted.
    """

    nodes: torch.dtype
    dot: tl.dtype
    product: str
    square: float
    spread: float
    largest_temperatures: tuple[float, float]

    def shift(self, temperature: float, top: float, is_safe: bool) -> float:
        """Exponent (base 2) that brings the largest exponential near `2 ** top` in float16."""
        if self.nodes == torch.float32:
            return 0.0
        return top if is_safe else top - temperature * LOG2_E


HALF = Precision(torch.float16, tl.float16, "ieee", 2.0**12, 2.0**-8, (10.0, 7.5))
SINGLE = Precision(torch.float32, tl.float32, "tf32x3", 1.0, 1.0, (20.0, 20.0))


@dataclass(frozen=True)
class Captions:
    """All captions, packed: `nodes [runs * W, d]`, and what else the kernels read of them."""

    runs: Runs
    nodes: Tensor
    inv_length: Tensor
    gram: Tensor
    slot: Tensor
    caption: Tensor


@dataclass(frozen=True)
class Images:
    """A block of images: `nodes [I * rows, d]`, and what else the kernels read of them."""

    block: ImageBlock
    nodes: Tensor
    inv_length: Tensor
    gram: Tensor
    counts: Tensor
    indices: Tensor


class PairLaunch:
    """One call's operands on the device, and the launches over them."""

    def __init__(
        self,
        regions: Tensor,
        words: Tensor,
        region_ptr: Tensor,
        word_ptr: Tensor,
        settings: PairSettings,
        tile_bytes: int,
        tuning: Tuning = DEFAULT_TUNING,
    ) -> None:
        self.regions, self.words = regions, words
        self.region_ptr = region_ptr.to("cpu", torch.int64)
        self.word_ptr = word_ptr.to("cpu", torch.int64)
        self.settings, self.tile_bytes, self.tuning = settings, tile_bytes, tuning
        self.precision = SINGLE if regions.dtype == torch.float32 else HALF
        self.device = regions.device
        self.groups, self.large_images = image_groups(self.region_ptr)
        self.region_scale = self._scale(regions)
        self.word_scale = self._scale(words)
        self.factors = self._factors()
        self.captions = self._pack_captions()
        self.refused: list[Tensor] = []

    def forward(self) -> Tensor:
        """Scores `[images, captions]` in float32; 0 where either side has no node."""
        out = torch.zeros(
            len(self.region_ptr) - 1,
            len(self.word_ptr) - 1,
            dtype=torch.float32,
            device=self.device,
        )
        for images in self.image_blocks(self.precision.nodes.itemsize):
            self.run_block("scores", images, partial(self._score_block, images, out))
        for image_owners, caption_owners in self.left_out():
            write_composed_scores(
                out,
                (self.regions, self.region_ptr, image_owners),
                (self.words, self.word_ptr, caption_owners),
                self.settings,
                self.tile_bytes,
            )
        return out

    def _score_block(self, images: Images, out: Tensor) -> None:
        for first, last in self.run_spans(images, self.precision.nodes.itemsize):
            S = images.nodes @ self.words_of(first, last).T
            self.launch_scores(images, first, last, S, out)

    def run_block(self, kernel: str, images: Images, work: Callable[[], None]) -> bool:
        """Do a block's work, or leave its images out where the kernel does not fit on the card.

        Triton refuses a kernel before its first launch, so nothing of the block is done then.
        """
        form = kernel, self.device, self.tuning, *self.constants(images.block.rows, 0, 0).values()
        if form not in REFUSED:
            try:
                work()
            except OutOfResources:
                REFUSED.add(form)
            else:
                return True
        self.refused.append(images.block.images)
        return False

    def launch_scores(self, images: Images, first: int, last: int, S: Tensor, out: Tensor) -> None:
        """Write one tile's scores, of a block of images with runs `first` to `last`."""
        grid = (last - first, math.ceil(len(images.block) / self.tuning.images))
        score_kernel[grid](
            S,
            images.gram,
            self.captions.gram[first:last],
            self.captions.slot[first:last],
            self.captions.caption[first:last],
            images.inv_length,
            self.captions.inv_length[first * self.tuning.width :],
            images.indices,
            images.counts,
            self.factors,
            out,
            len(images.block),
            images.block.rows,
            S.stride(0),
            out.stride(0),
            *self.shifts(),
            self.settings.lambda_lse * LOG2_E,
            **{"IMAGES": self.tuning.images, "maxnreg": self.tuning.registers},
            **self.constants(images.block.rows, self.tuning.warps, self.tuning.stages),
        )

    def constants(self, rows: int, warps: int, stages: int) -> dict[str, Any]:
        """What the kernels are compiled for."""
        safe_t2i, safe_i2t = self._is_safe()
        return {
            "num_warps": warps,
            "num_stages": stages,
            "R": max(16, 1 << (rows - 1).bit_length()),
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

    def _scale(self, nodes: Tensor) -> Tensor:
        """Power of two that brings the longest node to a length in (0.5, 1]; 1 in float32."""
        if self.precision is SINGLE or len(nodes) == 0:
            return torch.ones((), device=self.device)
        longest = torch.linalg.vector_norm(nodes, dim=1, dtype=torch.float32).max()
        return torch.exp2(-torch.ceil(torch.log2(longest.clamp(min=LEAST_NORM))))

    def _factors(self) -> Tensor:
        """Temperatures times log2(e), and the floor of norms, for logits of the scaled nodes."""
        scale = self.region_scale * self.word_scale
        temperatures = sent(torch.tensor(self.settings.temperatures), self.device) * LOG2_E
        if self.settings.normalise == "plain":
            temperatures = temperatures / scale
        return torch.cat((temperatures, (NORM_FLOOR * scale).view(1)))

    def _pack_captions(self) -> Captions:
        runs = pack_runs(self.word_ptr, self.tuning.width, self.tuning.slots)
        nodes = self._laid_out(
            self.words, self.word_scale, runs.source, runs.destination, len(runs) * runs.width
        )
        slot = sent(runs.slot, self.device)
        by_run = nodes.view(len(runs), runs.width, nodes.shape[1])
        gram = torch.bmm(by_run, by_run.transpose(1, 2))
        gram *= slot[:, :, None] == slot[:, None, :]
        return Captions(
            runs, nodes, _inverse_length(nodes), gram, slot, sent(runs.caption, self.device)
        )

    def _pack_images(self, owners: Tensor) -> Images:
        block = image_block(owners, self.region_ptr)
        nodes = self._laid_out(
            self.regions,
            self.region_scale,
            block.source,
            block.destination,
            len(block) * block.rows,
        )
        by_image = nodes.view(len(block), block.rows, nodes.shape[1])
        return Images(
            block,
            nodes,
            _inverse_length(nodes),
            torch.bmm(by_image, by_image.transpose(1, 2)),
            sent(block.counts.int(), self.device),
            sent(block.images.int(), self.device),
        )

    def _laid_out(
        self, nodes: Tensor, scale: Tensor, source: Tensor, destination: Tensor, rows: int
    ) -> Tensor:
        """Scaled nodes `[rows, d]`: those of `source` at `destination`, zeros elsewhere."""
        if len(source) == rows > 0 and _ascends(source):
            return (nodes[int(source[0]) : int(source[0]) + rows] * scale).to(self.precision.nodes)
        laid_out = torch.zeros(rows, nodes.shape[1], dtype=self.precision.nodes, device=self.device)
        chosen = nodes if len(source) == len(nodes) else nodes[sent(source, self.device)]
        laid_out[sent(destination, self.device)] = (chosen * scale).to(self.precision.nodes)
        return laid_out

    def image_blocks(self, bytes_per_element: int) -> Iterator[Images]:
        """Blocks of images whose rows make about the side of a square tile."""
        side = math.isqrt(max(self.tile_bytes // bytes_per_element, 1))
        for group in self.groups:
            rows = int(self.region_ptr.diff()[group].max())
            for owners in group.tensor_split(math.ceil(len(group) * rows / max(side, rows))):
                yield self._pack_images(owners)

    def run_spans(self, images: Images, bytes_per_element: int) -> Iterator[tuple[int, int]]:
        """First and last run of each tile that these images make within `tile_bytes`."""
        num_runs = len(self.captions.runs)
        run_bytes = len(images.nodes) * self.tuning.width * bytes_per_element
        parts = math.ceil(num_runs * run_bytes / max(self.tile_bytes, run_bytes))
        bounds = [num_runs * part // max(parts, 1) for part in range(parts + 1)]
        yield from pairwise(bounds)

    def words_of(self, first: int, last: int) -> Tensor:
        """Nodes of the runs from `first` up to `last`."""
        return self.captions.nodes[first * self.tuning.width : last * self.tuning.width]

    def left_out(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and captions whose pairs no tile held: too many regions or words, or refused."""
        every_image = torch.arange(len(self.region_ptr) - 1)
        every_caption = torch.arange(len(self.word_ptr) - 1)
        long_captions = self.captions.runs.left_out
        if len(self.large_images):
            yield self.large_images, every_caption
        if len(long_captions):
            yield every_image[~torch.isin(every_image, self.large_images)], long_captions
        if self.refused:
            short_captions = every_caption[~torch.isin(every_caption, long_captions)]
            yield torch.cat(self.refused), short_captions


def _inverse_length(nodes: Tensor) -> Tensor:
    """One over each node's length, and 0 for a node without one, so that its cosines are 0."""
    length = torch.linalg.vector_norm(nodes, dim=1, dtype=torch.float32)
    return torch.where(length > LEAST_NORM, 1 / length, 0)


def _ascends(indices: Tensor) -> bool:
    return bool((indices.diff() == 1).all())
