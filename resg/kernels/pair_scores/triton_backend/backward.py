"""Gradients of pair scores on the GPU: logits again, one kernel a tile, products that add up."""

from dataclasses import dataclass
from functools import partial
from math import inf

import torch
from torch import Tensor

from resg.kernels.launcher import run_kernel
from resg.kernels.pair_scores.torch_backend import add_gradients
from resg.kernels.pair_scores.triton_backend.forward import ForwardPass
from resg.kernels.pair_scores.triton_backend.kernels.gradient import gradient_kernel
from resg.kernels.pair_scores.triton_backend.kernels.nodes import (
    gather_gradient_kernel,
    unpack_kernel,
)
from resg.kernels.pair_scores.triton_backend.nodes import (
    LONGEST_REGION,
    LONGEST_WORD,
    PackedBlock,
    row_block,
)
from resg.kernels.pair_scores.triton_backend.tuning import LOG2_E

TENSORS_PER_TILE = 6  # S, its gradient, and two of each direction's attention


class Passes(ForwardPass):
    """Both passes over one call's nodes; the backward pass reuses what the forward pass packed."""

    def backward(self, grad: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients `[total regions, d]` and `[total words, d]` in the nodes' type."""
        self.refused = []
        is_empty = grad.numel() == 0
        self.largest_grad = grad.new_ones(()) if is_empty else torch.linalg.vector_norm(grad, inf)
        grad_regions, grad_words = (
            torch.zeros(x.shape, dtype=x.dtype, device=self.device)
            for x in (self.inputs.regions, self.inputs.words)
        )
        words = NodeGradient(grad_words, self.captions.plan.source, LONGEST_WORD)
        itemsize = TENSORS_PER_TILE * self.precision.nodes.itemsize
        for images in self.packed_blocks(itemsize):
            regions = NodeGradient(grad_regions, images.plan.source, LONGEST_REGION)
            spans = list(self.run_spans(images.nodes.shape[0], itemsize))
            if images is not self.only_block or len(spans) != 1:
                regions.sums = torch.zeros_like(images.nodes, dtype=torch.float32)
                if words.sums is None:
                    words.sums = torch.zeros_like(self.captions.nodes, dtype=torch.float32)
            work = partial(self._add_block, images, spans, grad, regions, words)
            if self.run_block("gradients", images, work):
                self._unpack(regions)
        self._unpack(words)
        return self._with_left_out(grad, grad_regions, grad_words)

    def _with_left_out(
        self, grad: Tensor, grad_regions: Tensor, grad_words: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The gradients, and what the pairs add that no tile held."""
        left_out = list(self.left_out())
        if not left_out:
            return grad_regions, grad_words
        sums = grad_regions.float(), grad_words.float()
        for chosen in left_out:
            add_gradients(sums, grad, self.inputs, chosen)
        return sums[0].to(grad_regions.dtype), sums[1].to(grad_words.dtype)

    def _add_block(
        self,
        images: PackedBlock,
        spans: list[tuple[int, int]],
        grad: Tensor,
        regions: "NodeGradient",
        words: "NodeGradient",
    ) -> None:
        for first, last in spans:
            self._add_tile(images, first, last, grad, regions, words)

    def _add_tile(
        self,
        images: PackedBlock,
        first: int,
        last: int,
        grad: Tensor,
        regions: "NodeGradient",
        words: "NodeGradient",
    ) -> None:
        """Add what one tile gives to the gradients of its images' and its runs' nodes."""
        V, (T, *_, inv_length_w) = images.nodes, self.captions.part(first, last)
        num_images, num_runs, width = len(images.plan), last - first, self.tuning.width
        S = torch.mm(V, T.T)
        tile, length_w, length_r = self.launch_gradients(images, first, last, S, grad)
        grad_S, *attentions = tile
        through_gram_r = through_gram_w = None
        if self.settings.words_attend:
            by_image = (num_images, images.plan.rows, -1)
            E, E_scaled = (attention.view(by_image) for attention in attentions[:2])
            through_gram_r = torch.bmm(torch.bmm(E_scaled, E.transpose(1, 2)), V.view(by_image))
        if self.settings.regions_attend:
            E, E_scaled = (attention.view(-1, num_runs, width) for attention in attentions[-2:])
            gram = torch.bmm(E_scaled.permute(1, 2, 0), E.transpose(0, 1))
            gram *= self.captions.plan.same[first:last]
            through_gram_w = torch.bmm(gram, T.view(num_runs, width, -1))
        through_S = torch.mm(grad_S, T)
        self._gather(regions, 0, through_S, through_gram_r, length_r, 1, images.inv_length, V)
        through_S = torch.mm(grad_S.T, V)
        self._gather(words, first * width, through_S, through_gram_w, length_w, 0, inv_length_w, T)

    def _gather(
        self,
        into: "NodeGradient",
        first_row: int,
        through_S: Tensor,
        through_gram: Tensor | None,
        lengths: Tensor | None,
        summed: int,
        inv_length: Tensor,
        nodes: Tensor,
    ) -> None:
        """Add a tile's parts to a side's sums, or, where that is all, write its gradient.

        The coefficients of the nodes' lengths are those of `lengths`, summed along `summed`.
        """
        rows, width = nodes.shape
        parts = (0, 0, 0)
        if lengths is not None:
            parts = lengths.stride(1 - summed), lengths.stride(summed), lengths.shape[summed]
        run_kernel(
            gather_gradient_kernel,
            (rows,),
            into.out if into.sums is None else into.sums[first_row:],
            through_S,
            through_S if through_gram is None else through_gram,
            inv_length if lengths is None else lengths,
            inv_length,
            nodes,
            into.source,
            self.packer.scales,
            self.largest_grad,
            into.out,
            *parts,
            into.longest,
            width,
            ONLY=into.sums is None,
            GRAM=through_gram is not None,
            LENGTH=lengths is not None,
            SCALED=self.precision.is_scaled,
            BLOCK=row_block(width),
            PARTS=128,
        )

    def _unpack(self, gradient: "NodeGradient") -> None:
        """Bring a side's sums to the nodes that they belong to."""
        if gradient.sums is None:
            return
        rows, width = gradient.sums.shape
        run_kernel(
            unpack_kernel,
            (rows,),
            gradient.sums,
            gradient.source,
            self.packer.scales,
            self.largest_grad,
            gradient.out,
            gradient.longest,
            width,
            SCALED=self.precision.is_scaled,
            BLOCK=row_block(width),
        )

    def launch_gradients(
        self, images: PackedBlock, first: int, last: int, S: Tensor, grad: Tensor
    ) -> tuple[tuple[Tensor, ...], Tensor | None, Tensor | None]:
        """Gradients and attentions of a tile, and coefficients of its nodes' lengths.

        The gradient of S, then, for words and for regions where these attend, the attention and the
        attention times its coefficient, all of S's shape; lengths `[images, words]` of words that
        attend and `[regions, runs]` of regions that do.
        """
        plan, settings = images.plan, self.settings
        num_images, num_runs = len(plan), last - first
        num_tensors = 1 + 2 * settings.words_attend + 2 * settings.regions_attend
        tile = S.new_empty((num_tensors, *S.shape)).unbind()
        length_w = length_r = None
        if settings.words_attend:
            length_w = S.new_empty((num_images, S.shape[1]), dtype=torch.float32)
        if settings.regions_attend:
            length_r = S.new_empty((S.shape[0], num_runs), dtype=torch.float32)
        run_kernel(
            gradient_kernel,
            (num_runs, num_images),
            *self.tile_operands(images, first, last, S),
            grad,
            self.largest_grad,
            tile[0],
            *(tile[1:3] if settings.words_attend else (S, S)),
            *(tile[-2:] if settings.regions_attend else (S, S)),
            self.packer.scales if length_w is None else length_w,
            self.packer.scales if length_r is None else length_r,
            plan.rows,
            S.stride(0),
            grad.stride(0),
            num_runs,
            *self.shifts(),
            settings.lambda_lse * LOG2_E,
            num_warps=self.tuning.backward_warps,
            **self.constants(plan.rows),
        )
        return tile, length_w, length_r


@dataclass
class NodeGradient:
    """Where the gradients of one side's nodes go.

    Attributes:
        out: `[nodes, d]` in the nodes' type, 0 before.
        source: `[rows]` the node that each packed row is, -1 for padding.
        longest: where the length of the side's longest node lies in the scales.
        sums: `[rows, d]` float32, what tiles gave so far; None where one tile gives all.
    """

    out: Tensor
    source: Tensor
    longest: int
    sums: Tensor | None = None
