"""From a batch of pairs to the scores of its images with its captions, over all processes.

B pairs of the whole batch, b of this process, d width.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from resg.data.batches import CaptionBatch, ImageBatch, PairBatch
from resg.models.encoded import Encoded
from resg.models.matcher import Matcher
from resg.training.distributed import gather_rows
from resg.transfer import to_device

Loss = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, ...]]
"""A loss such as `resg.training.losses.PairLoss`."""


@dataclass(frozen=True)
class ScoredPairs:
    """What the losses and the alarms read of a batch.

    Attributes:
        scores: `[B, B]` of each image with each caption; the pairs are on the diagonal.
        image_embeddings: `[B, d]`.
        images: this process's share, b items.
        captions: all B captions.
    """

    scores: Tensor
    image_embeddings: Tensor
    images: Encoded
    captions: Encoded

    @property
    def caption_embeddings(self) -> Tensor:
        """`[B, d]`."""
        return self.captions.embeddings

    def named_tensors(self) -> dict[str, Tensor]:
        """All tensors, to say which one is not finite."""
        return {
            "region nodes": self.images.nodes,
            "word nodes": self.captions.nodes,
            "image embeddings": self.image_embeddings,
            "caption embeddings": self.caption_embeddings,
            "scores": self.scores,
        }


class PairEncoder:
    """Encodes both sides of a batch of pairs, operation by operation.

    Args:
        matcher: the model.
        model: the matcher, or what wraps it to train on several processes.
        device: where the model is.
    """

    def __init__(self, matcher: Matcher, model: nn.Module, device: torch.device) -> None:
        self.matcher, self.model, self.device = matcher, model, device

    def prepare(
        self, images: ImageBatch, captions: CaptionBatch
    ) -> tuple[ImageBatch, CaptionBatch]:
        """A batch from the tables, ready to be encoded; runs ahead of the training step.

        The visual edges are built here, since the host must wait for their number.
        """
        if self.matcher.settings.graph.layers:
            images = to_device(images, self.device)
            images = replace(images, edges=self.matcher.visual_edges(images))
        return images, captions

    def __call__(self, images: ImageBatch, captions: CaptionBatch) -> tuple[Encoded, Encoded]:
        """Both sides encoded."""
        return self.model(images, captions)

    def wrap_loss(self, loss: Loss) -> Loss:
        """The loss of what was encoded, made to run as the encoder does."""
        return loss


class PairScorer:
    """Encodes this process's share of a batch and scores the whole batch.

    Every process computes the scores of its images with the captions of all processes, so all of
    them get all scores, whose gradients go back to where they come from.

    Args:
        matcher: the model.
        encoder: encodes with it.
        autocast_type: of the forward pass; float32 means none.
    """

    def __init__(self, matcher: Matcher, encoder: PairEncoder, autocast_type: torch.dtype) -> None:
        self.matcher, self.encoder, self.autocast_type = matcher, encoder, autocast_type

    def __call__(self, batch: PairBatch) -> ScoredPairs:
        """Scores and embeddings of a batch."""
        pairs_by_process = [len(words) for words in batch.words_by_process]
        with self.autocast():
            images, own_captions = self.encoder(batch.images, batch.captions)
            captions = own_captions.gather(gather_rows, batch.words_by_process)
            own_scores_bB = self.matcher.score(images, captions)
        return ScoredPairs(
            gather_rows(own_scores_bB, pairs_by_process),
            gather_rows(images.embeddings, pairs_by_process),
            images,
            captions,
        )

    def more(self, images: Encoded, captions: CaptionBatch) -> Tensor:
        """`[b, C]` scores of this process's encoded images with more captions."""
        with self.autocast():
            return self.matcher.score(images, self.matcher.encode_captions(captions))

    def autocast(self) -> AbstractContextManager[Any]:
        """Mixed precision, where the run has it."""
        if self.autocast_type is torch.float32:
            return nullcontext()
        return torch.autocast(self.encoder.device.type, self.autocast_type)
