"""How hard the triplet loss's negatives are: a schedule that follows what the model can do."""

from resg.config import LossSettings

MEMORY = 0.99
"""Decay of the running recall: a mean over the last hundred batches or so."""


READY = 0.25
"""Running recall from which the hardest negatives alone teach, and do not collapse, a model."""


class NegativeSchedule:
    """How far the triplet loss takes the hardest negative alone, from 0 to 1.

    With hardest negatives from the start a model that ranks nothing yet pulls all embeddings to one
    point, where every hardest negative costs no more than the margin (Schroff et al. 2015, section
    3.2). So the hardness is the running recall of the training batches (*reconstruction*): the
    share of images and captions whose own pair scores above all negatives of the batch. Where
    training goes wrong, recall falls, and the negatives become easy again. Or it is 0 for a number
    of epochs, then 1, as the baselines' released code has it for data sets of 30,000 images and
    more; on few images a model is not ready by then, so it is also 0 below a recall of `READY`.

    Attributes:
        recall: the running recall; resuming restores it.

    Args:
        settings: `hardest_after`.
        steps_per_epoch: optimiser steps.
    """

    def __init__(self, settings: LossSettings, steps_per_epoch: int) -> None:
        self.follows_recall = settings.hardest_after == "recall"
        epochs = 1.0 if settings.hardest_after == "recall" else settings.hardest_after
        self.first_hard_step = epochs * steps_per_epoch
        self.recall = 0.0

    def hardness(self, step: int) -> float:
        """The hardness at an optimiser step, for the recall so far."""
        if self.follows_recall:
            return self.recall
        return float(step >= self.first_hard_step and self.recall >= READY)

    def update(self, batch_recall: float) -> None:
        """Take a batch's recall, in [0, 1], into the running one."""
        self.recall += (1 - MEMORY) * (batch_recall - self.recall)

    def can_collapse(self, step: int) -> bool:
        """Whether equal scores are a sign of collapse by now, and not of a model just begun."""
        return step >= self.first_hard_step
