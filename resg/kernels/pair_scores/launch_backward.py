"""Gradients of pair scores on the GPU: logits again, one kernel a tile, products that add up."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from resg.kernels.pair_scores.composed import add_composed_gradients
from resg.kernels.pair_scores.gradient_kernel import gradient_kernel
from resg.kernels.pair_scores.launch import LEAST_NORM, LOG2_E, SINGLE, Images, PairLaunch
from resg.placement import sent

GRADIENT_BITS = (
    8  # the largest gradient of a score becomes about 2 to this; logits' are far smaller
)
TENSORS_PER_TILE = 6  # S, its gradient, and two of each direction's attention


class PairGradient(PairLaunch):
    """The gradients for one call's regions and words."""

    def backward(self, grad: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients `[total regions, d]` and `[total words, d]` in the nodes' type."""
        grad_scale = self._grad_scale(grad)
        grad = grad * grad_scale
        packed = self.captions.nodes
        grad_packed = torch.zeros(packed.shape, dtype=torch.float32, device=self.device)
        grad_regions = torch.zeros(self.regions.shape, dtype=torch.float32, device=self.device)
        itemsize = TENSORS_PER_TILE * self.precision.nodes.itemsize
        for images in self.image_blocks(itemsize):
            grad_images = torch.zeros(images.nodes.shape, dtype=torch.float32, device=self.device)
            work = partial(self._add_block, images, grad, grad_images, grad_packed, itemsize)
            if not self.run_block("gradients", images, work):
                continue
            block = images.block
            source, destination = (
                sent(block.source, self.device),
                sent(block.destination, self.device),
            )
            grad_regions[source] = grad_images[destination] * (self.region_scale / grad_scale)
        grad_words = torch.zeros(self.words.shape, dtype=torch.float32, device=self.device)
        runs = self.captions.runs
        source, destination = sent(runs.source, self.device), sent(runs.destination, self.device)
        grad_words[source] = grad_packed[destination] * (self.word_scale / grad_scale)
        for image_owners, caption_owners in self.left_out():
            add_composed_gradients(
                (grad_regions, grad_words),
                grad / grad_scale,
                (self.regions, self.region_ptr, image_owners),
                (self.words, self.word_ptr, caption_owners),
                self.settings,
                self.tile_bytes,
            )
        return grad_regions.to(self.regions.dtype), grad_words.to(self.words.dtype)

    def _grad_scale(self, grad: Tensor) -> Tensor:
        """Power of two that brings the scores' gradients into float16's range; 1 in float32."""
        if self.precision is SINGLE or grad.numel() == 0:
            return torch.ones((), device=self.device)
        largest = grad.abs().max().float().clamp(min=LEAST_NORM)
        return torch.exp2(GRADIENT_BITS - torch.ceil(torch.log2(largest)))

    def _add_block(
        self,
        images: Images,
        grad: Tensor,
        grad_images: Tensor,
        grad_packed: Tensor,
        itemsize: int,
    ) -> None:
        for first, last in self.run_spans(images, itemsize):
            rows = slice(first * self.tuning.width, last * self.tuning.width)
            self._add_tile(images, first, last, grad, grad_images, grad_packed[rows])

    def _add_tile(
        self,
        images: Images,
        first: int,
        last: int,
        grad: Tensor,
        grad_images: Tensor,
        grad_packed: Tensor,
    ) -> None:
        """Add what one tile gives to the gradients of its images' and its runs' nodes."""
        V, T = images.nodes, self.words_of(first, last)
        S = V @ T.T
        num_images, num_runs, width = len(images.block), last - first, self.tuning.width
        tile = self.launch_gradients(images, first, last, S, grad)
        grad_S, E_t2i, E_t2i_scaled, E_i2t, E_i2t_scaled, length_w, length_r = tile
        grad_images += grad_S @ T
        grad_packed += grad_S.T @ V
        if self.settings.words_attend:
            by_image = (num_images, images.block.rows, S.shape[1])
            gram = torch.bmm(E_t2i_scaled.view(by_image), E_t2i.view(by_image).transpose(1, 2))
            nodes = V.view(num_images, images.block.rows, V.shape[1])
            grad_images += torch.bmm(gram, nodes).view_as(V)
            inv_length = self.captions.inv_length[first * width : last * width]
            grad_packed -= (length_w.sum(0) * inv_length.square())[:, None] * T
        if self.settings.regions_attend:
            by_run = (S.shape[0], num_runs, width)
            left, right = (E.view(by_run).transpose(0, 1) for E in (E_i2t_scaled, E_i2t))
            gram = torch.bmm(left.transpose(1, 2), right)
            slot = self.captions.slot[first:last]
            gram *= slot[:, :, None] == slot[:, None, :]
            nodes = T.view(num_runs, width, T.shape[1])
            grad_packed += torch.bmm(gram, nodes).view_as(T)
            grad_images -= (length_r.sum(1) * images.inv_length.square())[:, None] * V

    def launch_gradients(
        self, images: Images, first: int, last: int, S: Tensor, grad: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Gradient of S, each direction's attention plain and scaled, coefficients of lengths."""
        num_images, num_runs = len(images.block), last - first
        dtype = self.precision.nodes
        nothing = S.new_empty(0, dtype=dtype)
        tensors = [torch.empty_like(S, dtype=dtype)]
        for is_wanted in (self.settings.words_attend, self.settings.regions_attend):
            for _ in range(2):
                tensors.append(torch.empty_like(S, dtype=dtype) if is_wanted else nothing)
        length_w = S.new_empty((num_images, S.shape[1]), dtype=torch.float32)
        length_r = S.new_empty((S.shape[0], num_runs), dtype=torch.float32)
        operands: tuple[Any, ...] = (
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
            grad,
            *tensors,
            length_w,
            length_r,
            images.block.rows,
            S.stride(0),
            grad.stride(0),
            num_runs,
            *self.shifts(),
            self.settings.lambda_lse * LOG2_E,
        )
        constants = self.constants(images.block.rows, self.tuning.backward_warps, stages=1)
        gradient_kernel[(num_runs, num_images)](*operands, **constants)
        grad_S, E_t2i, E_t2i_scaled, E_i2t, E_i2t_scaled = tensors
        return grad_S, E_t2i, E_t2i_scaled, E_i2t, E_i2t_scaled, length_w, length_r
