"""Alarms: signs that training has failed, each with what to try."""

import math
from collections import deque

import torch
from torch import Tensor, nn

from resg.config import LossSettings
from resg.errors import ResgError
from resg.evaluation.ranking import Metrics

WINDOW = 100
COLLAPSE_SHARE = 0.01
EQUAL_SCORES = 0.01
LEAST_VARIANCE = 1e-5


class TrainingError(ResgError):
    """Training cannot succeed as it is going; the last checkpoint is kept."""


class CollapseAlarm:
    """Collapse: the model maps everything to one point.

    When all scores are equal each violation of the triplet loss is its margin m. Watched on the
    triplet alone, after the first steps, as a mean over 100 of them, and only where the scores of a
    batch are equal too, to a hundredth of the margin: a hardest negative that scores as the match
    does also costs m, and in a large batch that is how a model looks that ranks its matches near
    the top. Or the variance of the embeddings, summed over dimensions, is near 0.
    """

    def __init__(self, settings: LossSettings) -> None:
        self.settings = settings
        self.shares: deque[float] = deque(maxlen=WINDOW)

    def check(
        self,
        triplet: float,
        num_pairs: int,
        deviation: float,
        variance: float,
        hardness: float = 1.0,
    ) -> None:
        """Look at one step.

        Args:
            triplet: the triplet loss.
            num_pairs: B.
            hardness: of its negatives, see `losses.triplet_loss`.
            deviation: of the batch's scores, see `spread`.
            variance: of its embeddings.

        Raises:
            TrainingError: collapsed.
        """
        if not self.settings.triplet_weight or num_pairs < 2:
            return
        violations = 1.0  # of an anchor with equal scores: the hardest, or the mean of all
        if self.settings.hardest_after != "recall":
            violations = hardness + (1 - hardness) * (num_pairs - 1)
        self.shares.append(triplet / (violations * self.settings.triplet_margin))
        if len(self.shares) < WINDOW:
            return
        mean_share = sum(self.shares) / WINDOW
        are_equal = (
            abs(mean_share - 1) < COLLAPSE_SHARE
            and deviation < EQUAL_SCORES * self.settings.triplet_margin
        )
        if are_equal or variance < LEAST_VARIANCE:
            raise TrainingError(
                f"the model collapsed: over {WINDOW} steps the triplet loss was {mean_share:.3f} "
                "of its margin (1 means that all scores are equal), the embeddings' variance "
                f"{variance:.1e}.\n"
                "Try negatives that follow the recall (--set loss.hardest_after=recall), a lower "
                "learning rate (--set train.learning_rate=1e-4) or a larger batch."
            )


def spread(scores_IC: Tensor, embeddings_Nd: Tensor) -> tuple[Tensor, Tensor]:
    """Deviation of a batch's scores, and variance of its embeddings summed over dimensions."""
    variance = embeddings_Nd.detach().float().var(0, correction=0).sum()
    return scores_IC.detach().float().std(correction=0), variance


def check_finite(
    loss: float, parts: dict[str, Tensor], model: nn.Module, step: int, captions: list[str]
) -> None:
    """Refuse a loss that is not finite, before it reaches the weights.

    Args:
        loss: its value.
        parts: named tensors that led to it.
        model: its weights are looked at too.
        step: optimiser steps done.
        captions: ids of the batch's captions.

    Raises:
        TrainingError: it names the batch and the tensors.
    """
    if math.isfinite(loss):
        return
    bad = [name for name, tensor in parts.items() if not torch.isfinite(tensor).all()]
    bad += [name for name, weight in model.named_parameters() if not torch.isfinite(weight).all()]
    raise TrainingError(
        f"the loss is {loss} at step {step}; not finite: {', '.join(bad[:6]) or 'the sum'}."
        f" The batch holds captions {', '.join(captions[:3])} and {max(0, len(captions) - 3)} "
        "more.\n"
        "Check the features (pipeline verify), or try --set train.precision=fp32 and a smaller "
        "--set train.learning_rate."
    )


def check_chance(metrics: Metrics, step: int, chance_steps: int) -> None:
    """Refuse validation that is no better than chance.

    Raises:
        TrainingError: after `chance_steps`, Recall@1 is at chance in both directions.
    """
    chance = 100.0 / metrics.i2t.num_queries
    best = max(metrics.i2t.recall[1], metrics.t2i.recall[1])
    # five captions an image make i2t's chance the same as t2i's: 5 of 5 I
    if step >= chance_steps and metrics.i2t.num_queries >= 20 and best <= 1.5 * chance:
        raise TrainingError(
            f"after {step} steps validation Recall@1 is {best:.2f}, chance is {chance:.2f}.\n"
            "Do images and captions belong together (pipeline verify)? Else try a larger "
            "--set train.learning_rate, or --set loss.hardest_after=recall."
        )
