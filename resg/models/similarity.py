"""Similarity of images and captions: by pooled embeddings, by nodes, or both.

I images, C captions, M nodes, d width.
"""

from dataclasses import asdict

import torch
from torch import Tensor, nn

from resg.config import SimilaritySettings
from resg.kernels.dispatch import in_autocast_type
from resg.kernels.pair_scores import pair_scores
from resg.kernels.pair_scores.settings import PairSettings
from resg.models.best_match import best_match_scores
from resg.models.encoded import Encoded


class Similarity(nn.Module):
    """`s = (1 - l) s_g + l s_n`, l the sigmoid of one learned number; or one of the two alone."""

    def __init__(self, settings: SimilaritySettings, width: int) -> None:
        super().__init__()
        self.settings = settings
        is_mixed = settings.embeddings and settings.nodes != "none"
        self.mix = nn.Parameter(torch.zeros(())) if is_mixed else None
        self.region_weight = self.word_weight = None
        if settings.match == "weighted_best":
            self.region_weight = nn.Parameter(torch.zeros(width))
            self.word_weight = nn.Parameter(torch.zeros(width))

    def forward(self, images: Encoded, captions: Encoded) -> Tensor:
        """`[I, C]` float32 scores of all images with all captions."""
        pairs = pair_settings(self.settings)
        if pairs is None:
            return self._embedding_scores(images, captions)
        node_scores_IC = self._node_scores(images, captions, pairs)
        if self.mix is None:
            return node_scores_IC
        return torch.lerp(
            self._embedding_scores(images, captions), node_scores_IC, self.mix.sigmoid()
        )

    def _node_scores(self, images: Encoded, captions: Encoded, pairs: PairSettings) -> Tensor:
        # the operator is blind to autocast
        regions, words = in_autocast_type(images.nodes), in_autocast_type(captions.nodes)
        with torch.autocast(regions.device.type, enabled=False):  # float32 inside, as it promises
            if self.settings.match != "attended":
                logits: list[Tensor] = []
                if self.region_weight is not None and self.word_weight is not None:
                    logits = [images.nodes @ self.region_weight, captions.nodes @ self.word_weight]
                return best_match_scores(images, captions, pairs.direction, *logits)
            return pair_scores(
                regions,
                words,
                images.ptr,
                captions.ptr,
                **asdict(pairs),
            )

    def _embedding_scores(self, images: Encoded, captions: Encoded) -> Tensor:
        with torch.autocast(images.embeddings.device.type, enabled=False):
            return images.embeddings @ captions.embeddings.T


def pair_settings(settings: SimilaritySettings) -> PairSettings | None:
    """How the nodes of a pair are compared; None where embeddings alone are."""
    if settings.nodes == "none":
        return None
    return PairSettings(
        direction=settings.nodes,
        temperatures=(settings.words_temperature, settings.regions_temperature),
        normalise=settings.normalise,
        pooling=settings.node_pooling,
        lambda_lse=settings.lambda_lse,
    )
