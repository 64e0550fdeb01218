"""Gradients of pair scores on the GPU: logits again, one kernel a tile, products that add up."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from resg.kernels.pair_scores.composed import add_composed_gradients
from resg.kernels.pair_scores.forms import LOG2_E, run_kernel
from resg.kernels.pair_scores.gradient_kernel import gradient_kernel
from resg.kernels.pair_scores.launch import Images, PairLaunch, row_block
from resg.kernels.pair_scores.node_kernels import gather_gradient_kernel, unpack_kernel

TENSORS_PER_TILE = 6  # S, its gradient, and two of each direction's attention


class PairGradient(PairLaunch):
    """The gradients for one call's regions and words."""

    def backward(self, grad: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients `[total regions, d]` and `[total words, d]` in the nodes' type."""
        self.refused = []
        self.largest_grad = grad.abs().amax() if grad.numel() else grad.new_ones(())
        grad_regions = torch.zeros(self.regions.shape, dtype=self.regions.dtype, device=self.device)
        grad_words = torch.zeros(self.words.shape, dtype=self.words.dtype, device=self.device)
        packed = self.captions.nodes
        sums = torch.zeros(packed.shape, dtype=torch.float32, device=self.device)
        itemsize = TENSORS_PER_TILE * self.precision.nodes.itemsize
        for images in self.image_blocks(itemsize):
            image_sums = torch.empty(images.nodes.shape, dtype=torch.float32, device=self.device)
            work = partial(self._add_block, images, grad, image_sums, sums, itemsize)
            if self.run_block("gradients", images, work):
                source = images.layout.source
                self._unpack(image_sums, source, self.longest_region, grad_regions)
        self._unpack(sums, self.captions.layout.source, self.longest_word, grad_words)
        return self._with_left_out(grad, grad_regions, grad_words)

    def _with_left_out(
        self, grad: Tensor, grad_regions: Tensor, grad_words: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The gradients, and what the pairs add that no tile held."""
        left_out = list(self.left_out())
        if not left_out:
            return grad_regions, grad_words
        sums = grad_regions.float(), grad_words.float()
        for image_owners, caption_owners in left_out:
            add_composed_gradients(
                sums,
                grad,
                (self.regions, self.region_ptr, image_owners),
                (self.words, self.word_ptr, caption_owners),
                self.settings,
                self.tile_bytes,
            )
        return sums[0].to(self.regions.dtype), sums[1].to(self.words.dtype)

    def _add_block(
        self, images: Images, grad: Tensor, image_sums: Tensor, sums: Tensor, itemsize: int
    ) -> None:
        width = self.tuning.width
        spans = list(self.run_spans(len(images.nodes), itemsize))
        if not spans:
            image_sums.zero_()
        for first, last in spans:
            rows = slice(first * width, last * width)
            self._add_tile(images, first, last, grad, image_sums, sums[rows])

    def _add_tile(
        self,
        images: Images,
        first: int,
        last: int,
        grad: Tensor,
        image_sums: Tensor,
        sums: Tensor,
    ) -> None:
        """Add what one tile gives to the gradients of its images' and its runs' nodes."""
        V, T = images.nodes, self.words_of(first, last)
        S = V @ T.T
        num_images, num_runs, width = len(images.layout), last - first, self.tuning.width
        tile = self.launch_gradients(images, first, last, S, grad)
        grad_S, E_t2i, E_t2i_scaled, E_i2t, E_i2t_scaled, length_w, length_r = tile
        through_gram_r = through_gram_w = coefficient_r = coefficient_w = None
        if self.settings.words_attend:
            by_image = (num_images, images.layout.rows, S.shape[1])
            gram = torch.bmm(E_t2i_scaled.view(by_image), E_t2i.view(by_image).transpose(1, 2))
            nodes = V.view(num_images, images.layout.rows, V.shape[1])
            through_gram_r = torch.bmm(gram, nodes)
            coefficient_w = length_w.sum(0)
        if self.settings.regions_attend:
            by_run = (S.shape[0], num_runs, width)
            left, right = (E.view(by_run).transpose(0, 1) for E in (E_i2t_scaled, E_i2t))
            gram = torch.bmm(left.transpose(1, 2), right)
            slot = self.captions.layout.slot[first:last]
            gram *= slot[:, :, None] == slot[:, None, :]
            nodes = T.view(num_runs, width, T.shape[1])
            through_gram_w = torch.bmm(gram, nodes)
            coefficient_r = length_r.sum(1)
        is_first = first == 0
        inv_length = images.inv_length
        self._gather(image_sums, grad_S @ T, through_gram_r, coefficient_r, inv_length, V, is_first)
        inv_length = self.captions.inv_length[first * width : last * width]
        self._gather(sums, grad_S.T @ V, through_gram_w, coefficient_w, inv_length, T, False)

    def _gather(
        self,
        sums: Tensor,
        through_S: Tensor,
        through_gram: Tensor | None,
        coefficient: Tensor | None,
        inv_length: Tensor,
        nodes: Tensor,
        is_first: bool,
    ) -> None:
        """Add a tile's parts to a side's sums `[rows, d]`, or write them where it is first."""
        run_kernel(
            gather_gradient_kernel,
            (len(sums),),
            sums,
            through_S,
            through_S if through_gram is None else through_gram,
            inv_length if coefficient is None else coefficient,
            inv_length,
            nodes,
            nodes.shape[1],
            FIRST=is_first,
            GRAM=through_gram is not None,
            LENGTH=coefficient is not None,
            BLOCK=row_block(nodes.shape[1]),
        )

    def _unpack(self, sums: Tensor, source: Tensor, longest: Tensor, out: Tensor) -> None:
        """Bring a side's sums to the nodes that they belong to."""
        run_kernel(
            unpack_kernel,
            (len(sums),),
            sums,
            source,
            longest,
            self.largest_grad,
            out,
            out.shape[1],
            SCALED=self.precision.is_scaled,
            BLOCK=row_block(out.shape[1]),
        )

    def launch_gradients(
        self, images: Images, first: int, last: int, S: Tensor, grad: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Gradient of S, each direction's attention plain and scaled, coefficients of lengths."""
        layout, words = images.layout, self.captions.layout
        num_images, num_runs = len(layout), last - first
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
            words.slot[first:last],
            words.owner[first:last],
            images.inv_length,
            self.captions.inv_length[first * self.tuning.width :],
            layout.images,
            layout.counts,
            self.factors,
            grad,
            self.largest_grad,
            *tensors,
            length_w,
            length_r,
            layout.rows,
            S.stride(0),
            grad.stride(0),
            num_runs,
            *self.shifts(),
            self.settings.lambda_lse * LOG2_E,
        )
        constants = self.constants(layout.rows, self.tuning.backward_warps)
        run_kernel(gradient_kernel, (num_runs, num_images), *operands, **constants)
        grad_S, E_t2i, E_t2i_scaled, E_i2t, E_i2t_scaled = tensors
        return grad_S, E_t2i, E_t2i_scaled, E_i2t, E_i2t_scaled, length_w, length_r
