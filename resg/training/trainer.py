"""The trainer: from tables of pairs to a run folder.

resg train --shards data/scenes-shards --out runs/first --preset resg-gru
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from resg.data.batches import PairBatch
from resg.data.sampling import PairSampler
from resg.data.splits import SplitTables
from resg.data.word_drop import DroppedWords
from resg.devices import device_name
from resg.evaluation.ranking import Metrics, score_matrix_metrics
from resg.evaluation.scoring import image_of_caption, score_matrix
from resg.files import load_tensors, save_tensors
from resg.models.encoded import Encoded
from resg.run_folder import BEST_WEIGHTS, RunFolder, load_weights
from resg.training.alarms import CollapseAlarm, check_chance, check_finite
from resg.training.checkpoint import TrainState, last_checkpoint, load_checkpoint, save_checkpoint
from resg.training.cuda_graphs import make_encoder
from resg.training.distributed import Processes
from resg.training.losses import FIGURES, PARTS, PairLoss, phrase_loss, swap_loss
from resg.training.negatives import NegativeSchedule
from resg.training.optimiser import Optimiser, choose_autocast_type
from resg.training.run_log import RunLog
from resg.training.scorer import PairScorer, ScoredPairs
from resg.transfer import HostCopy, prefetch, to_device

Event = Mapping[str, Any]

EXTRA = 0.25
"""Captions with an exchanged relation, and phrases, as a share of a batch's captions, at most."""


class Trainer:
    """Trains the matcher of a run and keeps its folder complete.

    Args:
        run: the run folder, fresh or to be resumed.
        training: tables of the training split.
        validation: tables of the validation split.
        device: where to train.
        processes: this process among those of torchrun.
        on_event: is called with every line of the metrics, and at the start and the end.
    """

    def __init__(
        self,
        run: RunFolder,
        training: SplitTables,
        validation: SplitTables,
        device: torch.device,
        processes: Processes | None = None,
        on_event: Callable[[Event], None] = lambda event: None,
    ) -> None:
        self.run, self.settings = run, run.settings
        self.training, self.validation = training, validation
        self.device = device
        self.processes = processes or Processes()
        self.log = RunLog(run.folder, on_event) if self.processes.is_first else None
        train = run.settings.train
        torch.manual_seed(train.seed)
        self.matcher = run.make_matcher().to(device)
        if self.matcher.regions.standardise is not None:
            self.matcher.regions.standardise.fit(training.images.feature_batches())
        self.model: nn.Module = self.matcher
        if self.processes.count > 1:
            self.model = DistributedDataParallel(self.matcher)
        self.sampler = PairSampler(
            training.captions.image,
            len(training.images),
            run.settings.model.width,
            batch_size=train.batch_size,
            seed=train.seed,
            hard_batches=train.hard_batches,
            captions_per_image=train.captions_per_image,
            num_processes=self.processes.count,
            device=device,
        )
        self.steps_per_epoch = math.ceil(len(self.sampler.batches(0)) / train.accumulate)
        autocast = choose_autocast_type(train.precision, device)
        total_steps = train.epochs * self.steps_per_epoch
        self.optimiser = Optimiser(self.matcher, train, total_steps, autocast)
        encoder = make_encoder(
            self.matcher, self.model, training, run.settings, device, self.processes, autocast
        )
        self.scorer = PairScorer(self.matcher, encoder, autocast)
        self.loss = encoder.wrap_loss(PairLoss(run.settings.loss))
        self.negatives = NegativeSchedule(run.settings.loss, self.steps_per_epoch)
        self.collapse = CollapseAlarm(run.settings.loss)
        self.state = TrainState()

    def fit(self) -> Metrics:
        """Train to the last epoch, or until validation stops getting better.

        Returns:
            The metrics of the last evaluation.

        Raises:
            TrainingError: training cannot succeed as it is going.
        """
        train, metrics = self.settings.train, None
        try:
            if self.log is not None:
                self.log.announce(self._start_event())
                if not self.state.step:
                    self._save(is_best=False)  # a run can be resumed at any time
            while self.state.epoch < train.epochs and not self._is_stale():
                self._train_epoch()
                self.state.epoch += 1
                metrics = self._evaluate()
            if self.log is not None:
                self.log.announce(self._end_event())
        finally:
            if self.log is not None:
                self.log.close()
        return metrics or self._score_validation()

    def resume(self) -> None:
        """Continue from the last checkpoint as if training had never stopped."""
        checkpoint = last_checkpoint(self.run.folder)
        load_weights(self.matcher, checkpoint / "model.safetensors")
        if self.optimiser.average is not None:
            load_weights(self.optimiser.average, checkpoint / "average.safetensors")
        self.sampler.load_state_dict(load_tensors(checkpoint / "sampler.safetensors"))
        self.state = load_checkpoint(checkpoint, self.optimiser.adamw)
        self.optimiser.scaler.load_state_dict(self.state.scaler)
        self.negatives.recall = self.state.recall
        self.collapse.shares.extend(self.state.triplet_shares)
        if self.log is not None:
            self.log.cut(self.state.step)

    def _train_epoch(self) -> None:
        self.model.train()
        accumulate, batches = self.settings.train.accumulate, self.sampler.batches(self.state.epoch)
        started, num_pairs = time.perf_counter(), 0
        for batch in prefetch(self._load, enumerate(batches, start=1), self.device):
            losses = self._train_batch(batch)
            num_pairs += len(batch.caption_indices)
            if batch.batch_index % accumulate and batch.batch_index < len(batches):
                continue  # the step has more gradients to add
            self.optimiser.step(self.state.step)
            if self.log is not None:
                now = time.perf_counter()
                self.log.step(self._step_event(losses, num_pairs / (now - started)))
                started, num_pairs = now, 0
            self.state.step += 1

    def _load(self, item: tuple[int, Tensor]) -> PairBatch:
        """Gather this process's share of a batch and send it to the device."""
        batch_index, rows = item
        train, tables, rank = self.settings.train, self.training, self.processes.rank
        shares = self.sampler.shares(rows)
        own = shares[rank]
        random = self.sampler.random(self.state.epoch, batch_index, rank)
        images = tables.images.batch(tables.captions.image[own], train.region_drop, random)
        captions = tables.captions.batch(own, torch.arange(len(own)))
        words_by_process = tuple(tables.captions.num_words[share] for share in shares)
        if train.word_drop and captions.subwords is None:
            # every process draws for all, to know how many words each of them has left
            drops = [
                DroppedWords.draw(
                    counts,
                    train,
                    self.run.vocabulary,
                    self.sampler.random(self.state.epoch, batch_index, len(shares) + process),
                )
                for process, counts in enumerate(words_by_process)
            ]
            captions = drops[rank].apply(captions)
            words_by_process = tuple(drop.counts_left for drop in drops)
        most = math.ceil(EXTRA * len(own))
        phrases = tables.phrases and tables.phrases.batch(
            own, tables.captions.image[own], most, random
        )
        batch = PairBatch(
            batch_index,
            rows.tolist(),
            tables.captions.image[rows],
            words_by_process,
            *self.scorer.encoder.prepare(images, captions),
            tables.swapped and tables.swapped.batch(shares, rank, math.ceil(EXTRA * len(rows))),
            phrases,
        )
        return to_device(batch, self.device)

    def _train_batch(self, batch: PairBatch) -> dict[str, float]:
        """Add the gradients of one batch; return its losses."""
        scored = self.scorer(batch)
        # filled in on the device: a copy from the host would wait for it
        hardness = torch.full((), self.negatives.hardness(self.state.step), device=self.device)
        loss, figures = self.loss(
            scored.scores,
            scored.image_embeddings,
            scored.caption_embeddings,
            batch.image_rows,
            hardness,
        )
        loss = loss + self._extra_loss(scored.images, batch)
        self.sampler.remember(batch.image_rows, scored.image_embeddings)
        on_host = HostCopy(figures)
        self.optimiser.backward(loss)
        # only now, when the GPU has the backward pass to do, does the host wait for the loss
        values = dict(zip(FIGURES, on_host.values(), strict=True))
        self._raise_alarms(values, batch, scored)
        self.negatives.update(values["recall"])
        return {part: values[part] for part in PARTS}

    def _extra_loss(self, images: Encoded, batch: PairBatch) -> Tensor | float:
        """The weighted losses of captions that are made of those of the batch."""
        settings, extra = self.settings.loss, 0.0
        temperature = settings.contrastive_temperature
        if batch.swapped is not None:
            captions = batch.swapped.captions
            scores = self.scorer.more(images, captions).gather(0, captions.image[None, :])[0]
            own, swapped = scores.chunk(2)
            # gradients are averaged over processes, of which each has its share of the mean
            weight = settings.swap_weight * batch.swapped.share * self.processes.count
            extra += weight * swap_loss(own, swapped, temperature)
        if batch.phrases is not None:
            scores = self.scorer.more(images, batch.phrases.captions)
            extra += settings.phrase_weight * phrase_loss(
                scores, batch.phrases.places, batch.phrases.is_shown, temperature
            )
        return extra

    def _raise_alarms(
        self, values: Mapping[str, float], batch: PairBatch, scored: ScoredPairs
    ) -> None:
        names = [self.training.caption_ids[row] for row in batch.caption_indices]
        tensors = {"features": batch.images.features, **scored.named_tensors()}
        check_finite(values["loss"], tensors, self.matcher, self.state.step, names)
        if self.negatives.can_collapse(self.state.step):
            hardness = self.negatives.hardness(self.state.step)
            self.collapse.check(
                values["triplet"], len(names), values["deviation"], values["variance"], hardness
            )

    def _evaluate(self) -> Metrics:
        metrics, state = self._score_validation(), self.state
        is_best = metrics.rsum > state.best_rsum
        if is_best:
            state.best_rsum, state.best_epoch = metrics.rsum, state.epoch
        state.stale_evaluations = 0 if is_best else state.stale_evaluations + 1
        if self.log is not None:
            self._save(is_best)
            event = {"step": state.step, "epoch": state.epoch, **metrics.as_json()}
            self.log.validation(event)
        check_chance(metrics, state.step, self.settings.train.chance_steps)
        return metrics

    def _score_validation(self) -> Metrics:
        images, captions = self.validation.images, self.validation.captions
        with self.scorer.autocast():
            scores = score_matrix(self.optimiser.best_matcher, images, captions, self.device)
        return score_matrix_metrics(scores, image_of_caption(captions))

    def _is_stale(self) -> bool:
        return 0 < self.settings.train.patience <= self.state.stale_evaluations

    def _save(self, is_best: bool) -> None:
        folder, optimiser = self.run.folder, self.optimiser
        if is_best:
            save_tensors(folder / BEST_WEIGHTS, optimiser.best_matcher.state_dict())
        tensors = {"model": self.matcher.state_dict(), "sampler": self.sampler.state_dict()}
        if optimiser.average is not None:
            tensors["average"] = optimiser.average.state_dict()
        shares, scaler = list(self.collapse.shares), optimiser.scaler.state_dict()
        recall = self.negatives.recall
        state = replace(self.state, triplet_shares=shares, recall=recall, scaler=scaler)
        save_checkpoint(folder, state, tensors, optimiser.adamw)

    def _start_event(self) -> Event:
        state = self.state
        return {
            "kind": "start",
            "preset": self.settings.preset,
            "parameters": sum(weight.numel() for weight in self.matcher.parameters()),
            "device": device_name(self.device),
            "processes": self.processes.count,
            "precision": str(self.scorer.autocast_type).removeprefix("torch."),
            "data": {"train": self.training.counts(), "val": self.validation.counts()},
            "epochs": self.settings.train.epochs,
            "steps_per_epoch": self.steps_per_epoch,
            "epoch": state.epoch,
            "best": {"epoch": state.best_epoch, "rsum": state.best_rsum},
        }

    def _end_event(self) -> Event:
        state = self.state
        return {
            "kind": "end",
            "epoch": state.epoch,
            "best": {"epoch": state.best_epoch, "rsum": state.best_rsum},
            "folder": str(self.run.folder),
        }

    def _step_event(self, losses: Mapping[str, float], pairs_per_second: float) -> Event:
        on_gpu = self.device.type == "cuda"
        return {
            "step": self.state.step,
            "epoch": self.state.epoch,
            **losses,
            "learning_rate": self.optimiser.learning_rate,
            "pairs_per_second": pairs_per_second,
            "memory": torch.cuda.max_memory_allocated() if on_gpu else 0,
        }
