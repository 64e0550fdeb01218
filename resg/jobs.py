"""Whole jobs: train a run, go on with one, evaluate some."""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from resg.config import RunSettings
from resg.data.splits import SplitReaders, SplitTables
from resg.errors import ResgError, SettingsError
from resg.evaluation.probes import hard_pair_accuracy, read_hard_pairs
from resg.evaluation.protocols import (
    Protocol,
    deviation_of,
    evaluate_scores,
    image_of_caption,
    mean_of,
    mean_scores,
    score_matrix,
)
from resg.evaluation.ranking import Metrics, check_owners
from resg.training.checkpoint import Run, create_run, load_matcher, open_run
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
        out: the run folder to make.
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
            run = Run(out, settings, vocabulary, data)
        trainer = Trainer(run, training, validation, device, processes, on_event)
        return _fit(trainer)


def resume_run(
    folder: Path,
    device: torch.device,
    shards: Path | None = None,
    on_event: OnEvent = lambda event: None,
) -> Metrics:
    """Go on with a run as if it had never stopped.

    Args:
        folder: of the run.
        device: where to train.
        shards: where the shards lie now, if they were moved.
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
    """Figures of a run, or of the ensemble of several: the mean of their score matrices.

    A folder that `train_seeds` made gives the mean over its seeds, with their `deviation`.

    Args:
        folders: of the runs.
        split: which split.
        protocol: which images are ranked together.
        device: where the models run.
        shards: where the shards lie, if not where the runs were trained.
        pairs: a file of hard pairs; their accuracy becomes the figure `hard_pairs`.
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
            f"{split!r}. Name the shards that all are to score: --shards."
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
    run: Run, split: str, device: torch.device, shards: Path | None = None
) -> SplitTables:
    """Tables of a split of the data that a run was trained on.

    Raises:
        ResgError: the shards were made by another detector or parser.
    """
    readers = SplitReaders.open(run.shards_in(shards), split)
    run.check_data({"fingerprints": readers.fingerprints()})
    return readers.tables(run.settings, run.vocabulary, device)


def choose_device(name: str) -> torch.device:
    """The device of that name; `auto` is the GPU (torchrun's own one) where there is one.

    A GPU becomes the current one of this process: kernels and streams without a device are its.

    Raises:
        SettingsError: there is no device of that name, or CUDA was asked for and is not there.
    """
    has_gpu = torch.cuda.is_available()
    if name.startswith("cuda") and not has_gpu:
        raise SettingsError(
            "expected an NVIDIA GPU for --device cuda, PyTorch sees none. Use --device cpu, or "
            "install a CUDA build of PyTorch."
        )
    if name == "auto":
        name = f"cuda:{local_rank()}" if has_gpu else "cpu"
    if re.fullmatch(r"cpu|cuda(:\d+)?", name) is None:
        raise SettingsError(f"expected --device auto, cpu, cuda or cuda:NUMBER, got {name!r}.")
    device = torch.device(name)
    if device.type == "cuda":
        device = torch.device("cuda", device.index or 0)
        if device.index >= torch.cuda.device_count():
            raise SettingsError(
                f"expected one of {torch.cuda.device_count()} GPUs for --device, counted from "
                f"cuda:0, got {name}."
            )
        torch.cuda.set_device(device)
    return device


def local_rank() -> int:
    """Number of this process on its machine, as torchrun gives it; 0 without torchrun."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def _fit(trainer: Trainer) -> Metrics:
    """Train, and draw the curves whatever comes of it."""
    try:
        return trainer.fit()
    finally:
        if trainer.log is not None and trainer.step:
            draw_curves(trainer.run.folder)


def _check_shares(settings: RunSettings, processes: Processes) -> None:
    """Refuse batches with fewer pairs than there are processes to share them."""
    if settings.train.batch_size < processes.count:
        raise SettingsError(
            f"expected a pair a step for each of {processes.count} processes, got "
            f"train.batch_size {settings.train.batch_size}. Try a larger --set train.batch_size, "
            "or fewer processes."
        )
