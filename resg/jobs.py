"""Whole jobs: train a run, resume one, evaluate some."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from resg.config import RunSettings
from resg.data.splits import SplitReaders, SplitTables
from resg.errors import ResgError, SettingsError
from resg.evaluation.hard_pairs import hard_pair_accuracy, read_hard_pairs
from resg.evaluation.protocols import (
    Protocol,
    deviation_of,
    evaluate_scores,
    mean_of,
    mean_scores,
)
from resg.evaluation.ranking import Metrics, check_owners
from resg.evaluation.scoring import image_of_caption, score_matrix
from resg.run_folder import RunFolder, create_run, load_matcher, open_run
from resg.training.distributed import Processes, joined_processes
from resg.training.run_log import draw_curves
from resg.training.trainer import Event, Trainer

OnEvent = Callable[[Event], None]


def train_run(
    shards: Path,
    out: Path,
    settings: RunSettings,
    device: torch.device,
    on_event: OnEvent = lambda event: None,
) -> Metrics:
    """Train a new run on the `train` split, choosing the best weights on `val`.

    Args:
        shards: folder of region and caption shards.
        out: the run folder to create.
        settings: all settings.
        device: where to train; under torchrun, this process's own.
        on_event: is called with every line of the metrics.

    Returns:
        Metrics of the last evaluation.

    Raises:
        ResgError: `out` holds a run, the shards do not fit each other, or an alarm was raised.
    """
    with joined_processes(device) as processes:
        _check_shares(settings, processes)
        readers = SplitReaders.open(shards, "train")
        vocabulary = readers.vocabulary(settings)
        training = readers.tables(settings, vocabulary, device)
        validation = SplitReaders.open(shards, "val").tables(settings, vocabulary, device)
        check_owners(image_of_caption(validation.captions), len(validation.images))
        data = {
            "shards": str(shards.resolve()),
            "fingerprints": readers.fingerprints(),
            "hashes": readers.hashes(),
            "feature_width": training.images.feature_width,
        }
        if processes.is_first:
            run = create_run(out, settings, vocabulary, data)
        else:
            run = RunFolder(out, settings, vocabulary, data)
        trainer = Trainer(run, training, validation, device, processes, on_event)
        return _fit(trainer)


def resume_run(
    folder: Path,
    device: torch.device,
    shards: Path | None = None,
    on_event: OnEvent = lambda event: None,
) -> Metrics:
    """Resume a run as if it had never stopped.

    Args:
        folder: of the run.
        device: where to train.
        shards: folder of the shards, if they were moved since.
        on_event: is called with every line of the metrics.

    Raises:
        ResgError: there is no checkpoint, or the shards are not those that it was trained on.
    """
    with joined_processes(device) as processes:
        run = open_run(folder)
        _check_shares(run.settings, processes)
        where = run.shards_in(shards)
        run.check_hashes(SplitReaders.open(where, "train").hashes())
        training = open_tables(run, "train", device, where)
        validation = open_tables(run, "val", device, where)
        trainer = Trainer(run, training, validation, device, processes, on_event)
        trainer.resume()
        return _fit(trainer)


def train_seeds(
    shards: Path,
    out: Path,
    settings: RunSettings,
    seeds: int,
    device: torch.device,
    on_event: OnEvent = lambda event: None,
) -> list[Path]:
    """Train the same run with several seeds, in `out/seed-0`, `out/seed-1`, ...; returns them."""
    folders = []
    with joined_processes(device):  # one group for all of them
        for seed in range(settings.train.seed, settings.train.seed + seeds):
            train = settings.train.model_copy(update={"seed": seed})
            own = settings.model_copy(update={"train": train})
            folders.append(out / f"seed-{seed}")
            train_run(shards, folders[-1], own, device, on_event)
    return folders


def evaluate_runs(
    folders: Sequence[Path],
    split: str,
    protocol: Protocol,
    device: torch.device,
    shards: Path | None = None,
    pairs: Path | None = None,
) -> dict[str, Any]:
    """Metrics of a run, or of the ensemble of several: the mean of their score matrices.

    A folder of `train_seeds` gives the mean over its seeds, with their `deviation`.

    Args:
        folders: of the runs.
        split: which split.
        protocol: which images are ranked together.
        device: where the models run.
        shards: folder of the shards, if not the one of training.
        pairs: a file of hard pairs; their accuracy is added as `hard_pairs`.
    """
    seeds = sorted(folders[0].glob("seed-*")) if len(folders) == 1 else []
    if seeds:
        figures = [evaluate_runs([s], split, protocol, device, shards, pairs) for s in seeds]
        spread = {"runs": len(figures), "deviation": deviation_of(figures)}
        return {"protocol": protocol, **mean_of(figures), **spread}
    scored = [score_run(folder, split, device, shards) for folder in folders]
    tables = scored[0][1]
    if any(other.caption_ids != tables.caption_ids for _, other in scored):
        raise ResgError(
            "expected runs that were trained on the same data, got other captions in split "
            f"{split!r}. Name the shards that all of them are to score: --shards."
        )
    scores = mean_scores([scores for scores, _ in scored])
    figures = evaluate_scores(scores, image_of_caption(tables.captions), protocol).as_json()
    if pairs is not None:
        figures["hard_pairs"] = hard_pair_accuracy(scores, tables, read_hard_pairs(pairs, split))
    return figures


def score_run(
    folder: Path, split: str, device: torch.device, shards: Path | None = None
) -> tuple[NDArray[np.float32], SplitTables]:
    """`[I, C]` scores of a split by a run's best weights, and the tables that were scored."""
    run = open_run(folder)
    tables = open_tables(run, split, device, shards)
    matcher = load_matcher(run, device)
    return score_matrix(matcher, tables.images, tables.captions, device), tables


def open_tables(
    run: RunFolder, split: str, device: torch.device, shards: Path | None = None
) -> SplitTables:
    """Tables of a split of the data that a run was trained on.

    Raises:
        ResgError: the shards were made by another detector or parser.
    """
    readers = SplitReaders.open(run.shards_in(shards), split)
    run.check_fingerprints(readers.fingerprints())
    return readers.tables(run.settings, run.vocabulary, device)


def _fit(trainer: Trainer) -> Metrics:
    """Train, and draw the curves even if training fails."""
    try:
        return trainer.fit()
    finally:
        if trainer.log is not None and trainer.state.step:
            draw_curves(trainer.run.folder)


def _check_shares(settings: RunSettings, processes: Processes) -> None:
    """Refuse batches with fewer pairs than processes."""
    if settings.train.batch_size < processes.count:
        raise SettingsError(
            f"expected at least one pair of a batch for each of {processes.count} processes, got "
            f"train.batch_size {settings.train.batch_size}. Try a larger --set train.batch_size, "
            "or fewer processes."
        )
