"""Train a scene-graph network: its losses and its loop; no spaCy."""

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.parsing.training.pretrained_net import PretrainedNet
from pipeline.parsing.training.scene_graph_batches import NO_TAG, Targets, TrainingData
from pipeline.parsing.training.scene_graph_net import Batch, GraphHeads

Net = TypeVar("Net", bound=GraphHeads)


@dataclass(frozen=True)
class TrainSettings:
    """Settings of training.

    Attributes:
        epochs: passes over the examples, at most.
        seconds: the learning rate falls with the clock and training ends then; None: with epochs.
        batch_size: captions per step.
        learning_rate: peak value for AdamW, reached after `warmup` steps; then cosine decay.
        warmup: number of steps.
        weight_decay: of AdamW.
        decay: of the exponential moving average of the weights.
        clip: maximum norm of the gradient.
        encoder_rate: learning rate of a pretrained encoder, as a share of the others'.
    """

    epochs: int = 30
    seconds: float | None = None
    batch_size: int = 128
    learning_rate: float = 2e-3
    warmup: int = 300
    weight_decay: float = 0.01
    decay: float = 0.998
    clip: float = 5.0
    encoder_rate: float = 0.1


def loss_of(net: GraphHeads, batch: Batch, targets: Targets) -> Tensor:
    """Mean over captions of the summed losses of tags, pairs, heads and tails, in nats.

    A predicate's first word is copied from a token of the caption if one has it, and taken from the
    closed set otherwise.
    """
    tokens_BLd = net.encode(batch)
    tags = net.tags(tokens_BLd)
    loss = F.cross_entropy(
        tags.flatten(0, 1), targets.tags.flatten(), ignore_index=NO_TAG, reduction="sum"
    )
    if len(batch.pairs):
        loss = loss + _pair_loss(net, tokens_BLd, batch, targets)
    return loss / len(batch.lengths)


def _pair_loss(net: GraphHeads, tokens_BLd: Tensor, batch: Batch, targets: Targets) -> Tensor:
    pairs_Pd = net.pair_vectors(tokens_BLd, batch)
    joined = net.joined(pairs_Pd).gather(1, targets.is_attribute[:, None]).squeeze(1)
    loss = F.binary_cross_entropy_with_logits(joined, targets.is_joined.float(), reduction="sum")
    relations = (targets.heads >= 0).nonzero().squeeze(1)
    if not len(relations):
        return loss
    captions = batch.nodes[batch.pairs[relations, 0], 0]
    heads, lemmas = targets.heads[relations][:, None], targets.lemmas[captions]
    mask = torch.arange(lemmas.shape[1], device=lemmas.device) < batch.lengths[captions][:, None]
    scores = net.predicate_heads(pairs_Pd[relations], tokens_BLd[captions], mask)
    said = (lemmas == heads) & mask
    rows = torch.arange(net.settings.heads, device=heads.device)
    closed = (rows == heads) & ~said.any(1, keepdim=True)
    right = torch.cat([closed, said], 1)
    likelihood = torch.logsumexp(scores.masked_fill(~right, -1e9), 1)
    loss = loss - (likelihood * right.any(1)).sum()
    tails = net.tails(pairs_Pd[relations], relations, heads[:, 0], batch)
    return loss + F.cross_entropy(tails, targets.tails[relations], ignore_index=-1, reduction="sum")


def train(
    net: Net, data: TrainingData, settings: TrainSettings
) -> Iterator[tuple[int, float, Net]]:
    """Train a network; yields after each epoch its number, mean loss and the averaged network."""
    averaged = copy.deepcopy(net).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(
        _groups(net, settings), betas=(0.9, 0.98), weight_decay=settings.weight_decay
    )
    peaks = [group["lr"] for group in optimizer.param_groups]
    learned = [
        (mean, now)
        for mean, now in zip(averaged.parameters(), net.parameters(), strict=True)
        if now.requires_grad
    ]
    steps = settings.epochs * math.ceil(len(data) / settings.batch_size)
    step, start = 0, time.perf_counter()
    for epoch in range(settings.epochs):
        net.train()
        total = torch.zeros((), device=data.device)
        for which in data.order().split(settings.batch_size):
            done = step / steps
            if settings.seconds is not None:
                done = max(done, (time.perf_counter() - start) / settings.seconds)
            if done >= 1.0:
                break
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * _share_of_peak(settings, step, done)
            loss = loss_of(net, *data.batch(which))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), settings.clip)
            optimizer.step()
            step += 1
            keep = min(settings.decay, (1 + step) / (10 + step))
            with torch.no_grad():
                for mean, now in learned:
                    mean.lerp_(now, 1 - keep)
            total += loss.detach() * len(which)
        yield epoch, total.item() / len(data), averaged
        if settings.seconds is not None and time.perf_counter() - start >= settings.seconds:
            return


def _groups(net: GraphHeads, settings: TrainSettings) -> list[dict[str, Any]]:
    """Parameters that are trained, those of a pretrained encoder apart."""
    groups: dict[float, list[Tensor]] = {}
    for name, parameter in net.named_parameters():
        is_pretrained = isinstance(net, PretrainedNet) and name.startswith("encoder.")
        rate = settings.learning_rate * (settings.encoder_rate if is_pretrained else 1.0)
        if parameter.requires_grad:
            groups.setdefault(rate, []).append(parameter)
    return [{"params": parameters, "lr": rate} for rate, parameters in groups.items()]


def _share_of_peak(settings: TrainSettings, step: int, done: float) -> float:
    falling = 0.5 * (1 + math.cos(math.pi * done))
    return min(1.0, step / settings.warmup) * max(0.01, falling)
