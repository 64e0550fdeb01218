"""The trainer: from shards to a run folder.

resg train --shards data/scenes-shards --out runs/first --preset resg-gru
"""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from resg.config import RunSettings, TrainSettings
from resg.data.buckets import Capacity
from resg.data.sampling import epoch_batches, nearest_images
from resg.data.splits import SplitTables
from resg.data.tables import PairBatch, drop_words
from resg.evaluation.protocols import image_of_caption, score_matrix
from resg.evaluation.ranking import Metrics, score_matrix_metrics
from resg.graphs.ragged import lengths
from resg.models.matcher import Matcher
from resg.training.alarms import CollapseAlarm, check_chance, check_finite, spread
from resg.training.checkpoint import (
    Run,
    last_checkpoint,
    load_state,
    load_tensors,
    load_weights,
    save_checkpoint,
    save_tensors,
)
from resg.training.cuda_graphs import CapturedEncoders, CapturedLoss, can_capture
from resg.training.distributed import Processes, gather_encoded, gather_rows
from resg.training.losses import PARTS, total_loss
from resg.training.run_log import RunLog
from resg.transfer import HostCopy, load_ahead, placed

Event = Mapping[str, Any]


class Trainer:
    """Trains the matcher of a run and keeps its folder whole.

    Args:
        run: the run folder, fresh or to be resumed.
        training: tables of the training split.
        validation: tables of the validation split.
        device: where to train.
        processes: this process among those of torchrun.
        on_event: is called with every line of the metrics.
    """

    def __init__(
        self,
        run: Run,
        training: SplitTables,
        validation: SplitTables,
        device: torch.device,
        processes: Processes | None = None,
        on_event: Callable[[Event], None] = lambda event: None,
    ) -> None:
        self.run = run
        self.settings: RunSettings = run.settings
        self.training, self.validation = training, validation
        self.device = device
        self.processes = processes or Processes()
        torch.manual_seed(self.settings.train.seed)
        self.matcher = run.make_matcher().to(device)
        self.model: nn.Module = self.matcher
        if self.processes.count > 1:
            self.model = DistributedDataParallel(self.matcher)
        self.optimiser = make_optimiser(self.matcher, self.settings.train)
        self.autocast_type = autocast_type(self.settings.train.precision, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.autocast_type is torch.float16)
        decay = self.settings.train.ema
        self.average = (
            AveragedModel(self.matcher, multi_avg_fn=get_ema_multi_avg_fn(decay)) if decay else None
        )
        self.capacity = self._capacity()
        if self.capacity is not None:
            self.captured_encoders = CapturedEncoders(self.matcher, self.autocast_type)
            self.captured_loss = CapturedLoss(self._loss)
        self.collapse = CollapseAlarm(self.settings)
        self.log = RunLog(run.folder, on_event) if self.processes.is_first else None
        self.recent_Id = torch.zeros(
            len(training.images), run.settings.model.width, dtype=torch.float16, device=device
        )  # each image's embedding when it was last seen
        self.step = self.epoch = self.stale = 0
        self.best = -1.0
        train = self.settings.train
        self.steps_per_epoch = math.ceil(len(self._batches(0)) / train.accumulate)
        self.total_steps = train.epochs * self.steps_per_epoch

    def fit(self) -> Metrics:
        """Train to the last epoch, or until validation stops getting better.

        Returns:
            The metrics of the last evaluation.

        Raises:
            TrainingError: training cannot succeed as it goes.
        """
        metrics = None
        try:
            while self.epoch < self.settings.train.epochs and not self._is_stale():
                self._train_epoch()
                self.epoch += 1
                metrics = self._evaluate()
        finally:
            if self.log is not None:
                self.log.close()
        return metrics or self._score_validation()

    def resume(self) -> None:
        """Go on from the last checkpoint as if training had never stopped."""
        checkpoint = last_checkpoint(self.run.folder)
        load_weights(self.matcher, checkpoint / "model.safetensors")
        if self.average is not None:
            load_weights(self.average, checkpoint / "average.safetensors")
        state = load_state(checkpoint, self.optimiser)
        for name in ("step", "epoch", "best", "stale"):
            setattr(self, name, state[name])
        self.collapse.shares.extend(state["collapse"])
        self.recent_Id.copy_(load_tensors(checkpoint / "recent.safetensors")["embeddings"])
        self.scaler.load_state_dict(state["scaler"])
        if self.log is not None:
            self.log.cut(self.step)

    def _train_epoch(self) -> None:
        settings = self.settings.train
        self.model.train()
        batches = self._batches(self.epoch)
        begun, num_pairs = time.perf_counter(), 0
        for pairs in load_ahead(self._load, enumerate(batches, start=1), self.device):
            numbers = self._accumulate(pairs)
            num_pairs += len(pairs.numbers)
            if pairs.place % settings.accumulate and pairs.place < len(batches):
                continue
            self._apply()
            if self.log is not None:
                now = time.perf_counter()
                self.log.step(self._step_event(numbers, num_pairs / (now - begun)))
                begun, num_pairs = now, 0
            self.step += 1

    def _load(self, item: tuple[int, Tensor]) -> PairBatch:
        """Gather this process's share of a batch, and send it to the device."""
        place, numbers = item
        settings, training = self.settings.train, self.training
        own = self.processes.shares(numbers)[self.processes.rank]
        random = generator(settings.seed, self.epoch, place, self.processes.rank)
        fill = None if self.capacity is None else self.capacity.shape(own)
        own_rows = training.captions.image[own]
        images = training.images.batch(own_rows, settings.region_drop, random, fill)
        captions = training.captions.batch(own, torch.arange(len(own)), fill)
        captions = drop_words(captions, settings.word_drop, random)
        if self.settings.model.graph.layers and fill is None:
            images = placed(images, self.device)
            images = replace(images, edges=self.matcher.visual_edges(images))
        rows = training.captions.image[numbers]
        return placed(PairBatch(place, numbers.tolist(), rows, images, captions), self.device)

    def _accumulate(self, pairs: PairBatch) -> dict[str, float]:
        """Add the gradients of one batch; return its losses."""
        shares = self.processes.shares(torch.tensor(pairs.numbers))
        words = [self.training.captions.num_words[share] for share in shares]
        counts = [len(share) for share in shares]
        is_captured = pairs.images.layout.is_filled
        encode = self.captured_encoders if is_captured else self.model
        with self._autocast():
            images, own_captions = encode(pairs.images, pairs.captions)
            captions = gather_encoded(own_captions, words)
            own_scores = self.matcher.score(images, captions)
        scores = gather_rows(own_scores, counts)
        embeddings = gather_rows(images.embeddings, counts)
        self.recent_Id[pairs.image_rows] = embeddings.detach().half()
        is_hardest = self._takes_hardest()
        loss = self.captured_loss if is_captured else self._loss
        total, figures = loss(scores, embeddings, captions.embeddings, is_hardest)
        on_host = HostCopy(figures)
        self.scaler.scale(total / self.settings.train.accumulate).backward()
        # only now, when the GPU has the backward pass to do, does the host wait for the loss
        *values, deviation, variance = on_host.values()
        numbers = dict(zip(PARTS, values, strict=True))
        parts = {
            "features": pairs.images.features,
            "region nodes": images.nodes,
            "word nodes": captions.nodes,
            "image embeddings": embeddings,
            "caption embeddings": captions.embeddings,
            "scores": scores,
        }
        names = [self.training.caption_ids[number] for number in pairs.numbers]
        check_finite(numbers["loss"], parts, self.matcher, self.step, names)
        if is_hardest:
            self.collapse.check(numbers["triplet"], len(pairs.numbers), deviation, variance)
        return numbers

    def _loss(
        self, scores_IC: Tensor, images_Id: Tensor, captions_Cd: Tensor, hardest: bool
    ) -> tuple[Tensor, Tensor]:
        """The loss of a batch of pairs, and as one vector its parts and what alarms look at."""
        own_image_C = torch.arange(len(captions_Cd), device=captions_Cd.device)
        losses = total_loss(
            scores_IC, images_Id, captions_Cd, own_image_C, self.settings.loss, hardest=hardest
        )
        return losses.total, losses.with_figures(*spread(scores_IC, captions_Cd))

    def _apply(self) -> None:
        settings = self.settings.train
        share = step_size(settings, self.step, self.total_steps)
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * share
        self.scaler.unscale_(self.optimiser)
        nn.utils.clip_grad_norm_(self.matcher.parameters(), settings.clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update_parameters(self.matcher)

    def _evaluate(self) -> Metrics:
        metrics = self._score_validation()
        is_better = metrics.rsum > self.best
        self.best = max(self.best, metrics.rsum)
        self.stale = 0 if is_better else self.stale + 1
        if self.log is not None:
            self._save(is_better)
            self.log.validation({"step": self.step, "epoch": self.epoch, **metrics.as_json()})
        check_chance(metrics, self.step, self.settings.train.chance_steps)
        return metrics

    def _score_validation(self) -> Metrics:
        with self._autocast():
            scores = score_matrix(
                self._evaluated(), self.validation.images, self.validation.captions, self.device
            )
        return score_matrix_metrics(scores, image_of_caption(self.validation.captions))

    def _evaluated(self) -> Matcher:
        """The model that is evaluated and kept as best: the averaged one where there is one."""
        return self.matcher if self.average is None else cast(Matcher, self.average.module)

    def _save(self, is_best: bool) -> None:
        folder = self.run.folder
        if is_best:
            save_tensors(folder / "best.safetensors", self._evaluated().state_dict())
        tensors = {
            "model": self.matcher.state_dict(),
            "recent": {"embeddings": self.recent_Id},
        }
        if self.average is not None:
            tensors["average"] = self.average.state_dict()
        state = {
            "step": self.step,
            "epoch": self.epoch,
            "best": self.best,
            "stale": self.stale,
            "collapse": list(self.collapse.shares),
            "scaler": self.scaler.state_dict(),
        }
        save_checkpoint(folder, tensors, self.optimiser, state)

    def _batches(self, epoch: int) -> list[Tensor]:
        settings = self.settings.train
        is_hard = settings.hard_batches and epoch > 0
        return epoch_batches(
            self.training.captions.image,
            settings.batch_size,
            settings.seed,
            epoch,
            nearest_images(self.recent_Id.float()) if is_hard else None,
            self.processes.count,
        )

    def _capacity(self) -> Capacity | None:
        """Which batches are filled up so that their steps can be captured, if any are."""
        if not can_capture(self.settings, self.device, self.processes, self.autocast_type):
            return None
        images, captions = self.training.images, self.training.captions
        return Capacity.of(
            self.settings.train.batch_size,
            lengths(images.ptr),
            captions.num_words,
            captions.num_edges,
            self.device,
        )

    def _takes_hardest(self) -> bool:
        return self.step >= self.settings.loss.warmup_epochs * self.steps_per_epoch

    def _is_stale(self) -> bool:
        return 0 < self.settings.train.patience <= self.stale

    def _autocast(self) -> Any:
        if self.autocast_type is torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.autocast_type)

    def _step_event(self, losses: Mapping[str, float], pairs_per_second: float) -> Event:
        on_gpu = self.device.type == "cuda"
        return {
            "step": self.step,
            "epoch": self.epoch,
            **losses,
            "learning_rate": self.optimiser.param_groups[0]["lr"],
            "pairs_per_second": pairs_per_second,
            "memory": torch.cuda.max_memory_allocated() if on_gpu else 0,
        }


def generator(*seeds: int) -> torch.Generator:
    """Random numbers that these seeds alone decide."""
    state = np.random.SeedSequence(seeds).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


def make_optimiser(matcher: Matcher, settings: TrainSettings) -> torch.optim.AdamW:
    """AdamW; a Hugging Face encoder takes smaller steps. `peak` is a group's largest step size."""
    encoder = getattr(matcher.words, "encoder", None)
    inner = {id(p) for p in encoder.parameters()} if encoder is not None else set()
    slow = [p for p in matcher.parameters() if id(p) in inner]
    fast = [p for p in matcher.parameters() if id(p) not in inner]
    rates = [(fast, settings.learning_rate)]
    if slow:
        rates.append((slow, settings.learning_rate * settings.text_learning_rate))
    return torch.optim.AdamW(
        [{"params": params, "lr": rate, "peak": rate} for params, rate in rates],
        weight_decay=settings.weight_decay,
        fused=next(matcher.parameters()).is_cuda,
    )


def step_size(settings: TrainSettings, step: int, total_steps: int) -> float:
    """Share of the peak step size at a step: a linear rise, then 1, then `decay`."""
    if step < settings.ramp_steps:
        return (step + 1) / settings.ramp_steps
    return settings.decay if step >= settings.decay_at * total_steps else 1.0


def autocast_type(precision: str, device: torch.device) -> torch.dtype:
    """The type of autocast; float32 means none."""
    if precision == "auto":
        has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
        precision = "bf16" if has_bf16 else "fp32"
    return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]
