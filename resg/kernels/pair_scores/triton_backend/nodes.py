"""Nodes as the kernels read them: scaled and packed, with their lengths and Gram matrices."""

from dataclasses import dataclass

import torch
from torch import Tensor

from resg.kernels.launcher import run_kernel
from resg.kernels.pair_scores.checks import PairInputs
from resg.kernels.pair_scores.reference import NORM_FLOOR
from resg.kernels.pair_scores.settings import PairSettings
from resg.kernels.pair_scores.triton_backend.kernels.nodes import (
    gram_kernel,
    length_kernel,
    pack_kernel,
    scales_kernel,
)
from resg.kernels.pair_scores.triton_backend.plans import BlockPlan, RunPlan
from resg.kernels.pair_scores.triton_backend.tuning import LOG2_E, Precision

LONGEST_REGION, LONGEST_WORD = 3, 4  # where these lie in `NodePacker.scales`


@dataclass(frozen=True)
class PackedRuns:
    """Owners in runs: `nodes [rows, d]`, one over their lengths, Gram matrices of the runs."""

    plan: RunPlan
    nodes: Tensor
    inv_length: Tensor
    gram: Tensor

    def part(self, first: int, last: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Nodes, Gram matrices, slots, owners, one over the lengths: of runs `first` to `last`."""
        plan = self.plan
        parts = self.nodes, self.gram, plan.slot, plan.owner, self.inv_length
        if last - first == len(plan):
            return parts
        nodes, gram, slot, owner, inv_length = parts
        width = slot.shape[1]
        rows = slice(first * width, last * width)
        return nodes[rows], gram[first:last], slot[first:last], owner[first:last], inv_length[rows]


@dataclass(frozen=True)
class PackedBlock:
    """A block of images: `nodes [I * rows, d]`, one over their lengths, their Gram matrices."""

    plan: BlockPlan
    nodes: Tensor
    inv_length: Tensor
    gram: Tensor


class NodePacker:
    """Packs one call's nodes as the plans say.

    Attributes:
        scales: `[5]` temperatures in base 2 and the floor of norms, as the kernels read them; the
            lengths of the longest region and of the longest word.
    """

    def __init__(self, inputs: PairInputs, precision: Precision) -> None:
        self.regions, self.words, self.precision = inputs.regions, inputs.words, precision
        self.scales = self._scales(inputs.settings)

    def caption_runs(self, plan: RunPlan) -> PackedRuns:
        """The captions' words in runs."""
        return self._runs(self.words, LONGEST_WORD, plan)

    def image_runs(self, plan: RunPlan) -> PackedRuns:
        """The images' regions in runs."""
        return self._runs(self.regions, LONGEST_REGION, plan)

    def image_block(self, plan: BlockPlan) -> PackedBlock:
        """The regions of a block of images."""
        nodes, inv_length = self._pack(self.regions, LONGEST_REGION, plan.source)
        by_image = nodes.view(len(plan), plan.rows, nodes.shape[1])
        gram = torch.bmm(by_image, by_image.transpose(1, 2))
        return PackedBlock(plan, nodes, inv_length, gram)

    def _scales(self, settings: PairSettings) -> Tensor:
        is_scaled, device = self.precision.is_scaled, self.regions.device
        num_regions, width = self.regions.shape
        num_nodes = num_regions + self.words.shape[0]
        lengths = torch.empty(num_nodes if is_scaled else 0, dtype=torch.float32, device=device)
        run_kernel(
            length_kernel,
            lengths.shape,
            self.regions,
            self.words,
            lengths,
            *self.regions.stride(),
            *self.words.stride(),
            num_regions,
            width,
            BLOCK=row_block(width),
        )
        scales = torch.empty(5, dtype=torch.float32, device=device)
        run_kernel(
            scales_kernel,
            (1,),
            lengths,
            scales,
            num_regions,
            num_nodes,
            *(temperature * LOG2_E for temperature in settings.temperatures),
            NORM_FLOOR,
            SCALED=is_scaled,
            PLAIN=settings.normalise == "plain",
            BLOCK=4096,
        )
        return scales

    def _runs(self, nodes: Tensor, longest: int, plan: RunPlan) -> PackedRuns:
        packed, inv_length = self._pack(nodes, longest, plan.source)
        width = plan.slot.shape[1]
        gram = packed.new_empty((len(plan), width, width))
        run_kernel(
            gram_kernel,
            (len(plan),),
            packed,
            plan.start,
            plan.slot,
            gram,
            packed.shape[1],
            W=width,
            BLOCK=64,
            PRECISION=self.precision.product,
            num_warps=4,
        )
        return PackedRuns(plan, packed, inv_length, gram)

    def _pack(self, nodes: Tensor, longest: int, source: Tensor) -> tuple[Tensor, Tensor]:
        """Scaled nodes `[rows, d]`, zeros where there is no source, and one over their lengths."""
        rows, width = source.shape[0], nodes.shape[1]
        packed = torch.empty((rows, width), dtype=self.precision.nodes, device=nodes.device)
        inv_length = torch.empty(rows, dtype=torch.float32, device=nodes.device)
        run_kernel(
            pack_kernel,
            (rows,),
            nodes,
            source,
            self.scales,
            packed,
            inv_length,
            longest,
            *nodes.stride(),
            width,
            SCALED=self.precision.is_scaled,
            BLOCK=row_block(width),
        )
        return packed, inv_length


def row_block(width: int) -> int:
    """Columns that a program of the node kernels reads at a time."""
    return min(1024, max(16, 1 << (width - 1).bit_length()))
