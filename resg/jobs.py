"""Whole jobs: train a run, resume one, evaluate some."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from resg.config import RunSettings
from resg.data.splits import SplitReaders, SplitTables
from resg.data.subwords import make_tokeniser
from resg.errors import ResgError, SettingsError
from resg.evaluation.hard_pairs import hard_pair_accuracy, read_hard_pairs, without_left_out
from resg.evaluation.matrices import MatrixIds, mean_scores, prepare_matrix_path, save_matrix
from resg.evaluation.protocols import Protocol, deviation_of, evaluate_scores, mean_of
from resg.evaluation.ranking import Metrics, check_owners
from resg.evaluation.scoring import image_of_caption, score_matrix
from resg.run_folder import RunFolder, create_run, load_matcher, open_run
from resg.training.distributed import Processes, joined_processes
from resg.training.interruption import interruptible
from resg.training.run_log import draw_curves
from resg.training.trainer import Event, Trainer

OnEvent = Callable[[Event], None]
FACTS = ("split", "protocol", "images", "captions", "left_out", "chance")
"""What an evaluation says of the data; the rest are figures of the run."""


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
        on_event: is called with every line of the metrics, and at the start and the end.

    Returns:
        Metrics of the last evaluation.

    Raises:
        ResgError: `out` holds a run, the shards do not fit each other, or an alarm was raised.
        TrainingInterrupted: Ctrl-C; the last checkpoint is kept.
    """
    with joined_processes(device) as processes:
        _check_shares(settings, processes)
        make_tokeniser(settings.model.text.encoder)  # a missing one is told at once
        readers = SplitReaders.open(shards, "train")
        vocabulary = readers.vocabulary(settings)
        training = readers.tables(settings, vocabulary, device)
        validation = SplitReaders.open(shards, "val").tables(settings, vocabulary, device)
        check_owners(image_of_caption(validation.captions), len(validation.images))
        data = {
            "shards": str(shards.resolve()),
            "fingerprints": readers.fingerprints(),
            "hashes": readers.hashes(),
            "region_settings": dict(readers.regions.settings),
            "feature_width": training.images.feature_width,
            "left_out": _left_out(training, validation),
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
        on_event: is called with every line of the metrics, and at the start and the end.

    Raises:
        ResgError: there is no checkpoint, or the shards are not those that it was trained on.
        TrainingInterrupted: Ctrl-C; the last checkpoint is kept.
    """
    with joined_processes(device) as processes:
        run = open_run(folder)
        _check_shares(run.settings, processes)
        where = run.shards_in(shards)
        run.check_hashes(SplitReaders.open(where, "train").hashes())
        training = open_tables(run, "train", device, where)
        validation = open_tables(run, "val", device, where)
        run.check_left_out(_left_out(training, validation))
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
    first = settings.train.seed
    folders = [out / f"seed-{seed}" for seed in range(first, first + seeds)]
    with joined_processes(device):  # one group for all of them
        for seed, folder in enumerate(folders, start=first):
            train = settings.train.model_copy(update={"seed": seed})
            own = settings.model_copy(update={"train": train})
            train_run(shards, folder, own, device, on_event)
    return folders


def evaluate_rows(
    folders: Sequence[Path],
    split: str,
    protocol: Protocol,
    device: torch.device,
    *,
    each: bool = False,
    shards: Path | None = None,
    pairs: Path | None = None,
    matrix: Path | None = None,
) -> dict[str, dict[str, Any]]:
    """Metrics by name: one row for the ensemble of the runs, or with `each` one for every run.

    Args and errors as for `evaluate_runs`.
    """
    are_distinct = len({folder.name for folder in folders}) == len(folders)
    names = [folder.name if are_distinct else str(folder) for folder in folders]
    groups = (
        {name: [folder] for name, folder in zip(names, folders, strict=True)}
        if each
        else {" + ".join(names): folders}
    )
    return {
        name: evaluate_runs(group, split, protocol, device, shards, pairs, matrix)
        for name, group in groups.items()
    }


def evaluate_runs(
    folders: Sequence[Path],
    split: str,
    protocol: Protocol,
    device: torch.device,
    shards: Path | None = None,
    pairs: Path | None = None,
    matrix: Path | None = None,
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
        matrix: a `.npy` file to write the scores of the whole split to, and their ids beside it.

    Raises:
        ResgError: the runs were trained on other data, or the matrix cannot be written.
    """
    if matrix is not None:
        prepare_matrix_path(matrix)
    seeds = sorted(folders[0].glob("seed-*")) if len(folders) == 1 else []
    if seeds and matrix is not None:
        raise SettingsError(
            f"expected one run, or the runs of an ensemble, to save their matrix; {folders[0]} has "
            f"{len(seeds)} seeds with a matrix each. Name one of them: --run {seeds[0]}."
        )
    if seeds:
        return figures_over_seeds(
            [evaluate_runs([seed], split, protocol, device, shards, pairs) for seed in seeds]
        )
    scored = [score_run(folder, split, device, shards) for folder in folders]
    tables = scored[0][1]
    if any(other.caption_ids != tables.caption_ids for _, other in scored):
        raise ResgError(
            "expected runs that were trained on the same data, got other captions in split "
            f"{split!r}. Name the shards that all of them are to score: --shards."
        )
    scores = mean_scores([scores for scores, _ in scored])
    if matrix is not None:
        owner = image_of_caption(tables.captions)
        ids = MatrixIds(split, tables.images.ids, tables.caption_ids, owner.tolist())
        save_matrix(matrix, scores, ids)
    return figures_of_scores(scores, tables, split, protocol, pairs)


def figures_of_scores(
    scores: NDArray[np.floating[Any]],
    tables: SplitTables,
    split: str,
    protocol: Protocol = "full",
    pairs: Path | None = None,
) -> dict[str, Any]:
    """Metrics of the `[I, C]` scores of a split, and what they are of.

    Args:
        scores: of all its images with all its captions.
        tables: of the split.
        split: its name.
        protocol: which images are ranked together.
        pairs: a file of hard pairs; their accuracy is added as `hard_pairs`.
    """
    left_out = tables.left_out.counts()
    owner = image_of_caption(tables.captions)
    evaluation = evaluate_scores(scores, owner, protocol).as_json()
    figures = {"split": split, "left_out": left_out, **evaluation}
    if pairs is not None:
        told = read_hard_pairs(pairs, split)
        compared = without_left_out(told, tables)
        left_out["hard_pairs"] = len(told) - len(compared)
        figures["hard_pairs"] = hard_pair_accuracy(scores, tables, compared)
    return figures


def figures_over_seeds(each: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means of the metrics of runs that differ in their seed, with their sample `deviation`."""
    facts = {name: value for name, value in each[0].items() if name in FACTS}
    figures = [{n: v for n, v in own.items() if n not in FACTS} for own in each]
    return {
        **facts,
        **mean_of(figures),
        "runs": len(each),
        "deviation": deviation_of(figures),
    }


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
    """Train, and draw the curves even if training fails or is stopped."""
    with interruptible(trainer.run.folder, trainer.processes):
        try:
            return trainer.fit()
        finally:
            if trainer.log is not None and trainer.state.epoch:
                draw_curves(trainer.run.folder)


def _left_out(training: SplitTables, validation: SplitTables) -> dict[str, dict[str, int]]:
    """Counts of what is left out of both splits, by split."""
    return {"train": training.left_out.counts(), "val": validation.left_out.counts()}


def _check_shares(settings: RunSettings, processes: Processes) -> None:
    """Refuse batches with fewer pairs than processes."""
    if settings.train.batch_size < processes.count:
        raise SettingsError(
            f"expected at least one pair of a batch for each of {processes.count} processes, got "
            f"train.batch_size {settings.train.batch_size}. Try a larger --set train.batch_size, "
            "or fewer processes."
        )
