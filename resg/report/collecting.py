"""What a report says of each run, or of several that differ in their seed.

I images, C captions of the split.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from resg.config import RunSettings
from resg.data.splits import SplitReaders
from resg.errors import ResgError, SettingsError
from resg.evaluation.matrices import mean_scores
from resg.evaluation.probes import ProbeReport, probe_run
from resg.evaluation.ranking import caption_ranks, image_ranks
from resg.evaluation.scoring import image_of_caption
from resg.files import read_json
from resg.jobs import figures_of_scores, figures_over_seeds, score_run
from resg.live import caption_reader
from resg.report.confusions import Confusion, worst_captions, worst_images
from resg.run_folder import RunFolder, open_run, runs_in
from resg.training.run_log import METRICS_FILE, read_metrics

MOST_CONFUSIONS = 5


@dataclass(frozen=True)
class RunReport:
    """A run, or several that differ in their seed.

    Attributes:
        name: of the run in the page.
        runs: the run folders, one for each seed.
        metrics: lines of `metrics.jsonl` of each run; none of a run that was exported.
        figures: metrics of the split, with their `deviation` where there are several seeds.
        image_ranks: `[runs * I]` places of the best own caption, 0 for the first.
        caption_ranks: `[runs * C]` places of the own image.
        probes: of each run; empty where they were not asked for.
        worst_captions: captions that found a wrong image, by the mean scores of all seeds.
        worst_images: images that found a wrong caption.
        image_ids: `[I]`.
        captions: `[C]` texts.
        versions: of Python and packages, at training.
    """

    name: str
    runs: tuple[RunFolder, ...]
    metrics: tuple[list[dict[str, Any]], ...]
    figures: dict[str, Any]
    image_ranks: NDArray[np.int64]
    caption_ranks: NDArray[np.int64]
    probes: tuple[ProbeReport, ...]
    worst_captions: list[Confusion]
    worst_images: list[Confusion]
    image_ids: list[str]
    captions: list[str]
    versions: dict[str, str]

    @property
    def settings(self) -> RunSettings:
        """Settings of the first seed."""
        return self.runs[0].settings


def collect_reports(
    folders: Sequence[Path],
    split: str,
    device: torch.device,
    *,
    shards: Path | None = None,
    pairs: Path | None = None,
    model: str | None = "embedded",
) -> list[RunReport]:
    """Evaluate runs for a report.

    Args:
        folders: of runs, or of the seeds of one.
        split: to evaluate.
        device: where the matchers run.
        shards: folder of the shards, if not the one of training.
        pairs: a file of hard pairs.
        model: spaCy model that parsed the captions, for the probes; None to leave them out.

    Raises:
        ResgError: a folder holds no run, or was named twice, or as for `evaluate_runs`.
    """
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise SettingsError("expected different runs, one was named twice.")
    distinct = len({folder.resolve().name for folder in folders}) == len(folders)
    return [
        _collect(
            folder,
            folder.resolve().name if distinct else str(folder),
            split,
            device,
            shards,
            pairs,
            model,
        )
        for folder in folders
    ]


def _collect(
    folder: Path,
    name: str,
    split: str,
    device: torch.device,
    shards: Path | None,
    pairs: Path | None,
    model: str | None,
) -> RunReport:
    runs = [open_run(each) for each in runs_in(folder)]
    scored = [score_run(run.folder, split, device, shards) for run in runs]
    tables = scored[0][1]
    if any(other.caption_ids != tables.caption_ids for _, other in scored):
        raise ResgError(
            f"expected seeds of one run in {folder}, got runs of other captions in split {split!r}."
        )
    owner = image_of_caption(tables.captions)
    each = [figures_of_scores(scores, tables, split, "full", pairs) for scores, _ in scored]
    mean = mean_scores([scores for scores, _ in scored])
    readers = SplitReaders.open(runs[0].shards_in(shards), split)
    return RunReport(
        name=name,
        runs=tuple(runs),
        metrics=tuple(_metrics(run.folder) for run in runs),
        figures=figures_over_seeds(each) if len(each) > 1 else each[0],
        image_ranks=np.concatenate([image_ranks(scores, owner) for scores, _ in scored]),
        caption_ranks=np.concatenate([caption_ranks(scores, owner) for scores, _ in scored]),
        probes=tuple(
            probe_run(run, split, device, caption_reader(run, model).captions, shards, pairs)
            for run in runs
            if model is not None
        ),
        worst_captions=worst_captions(mean, owner, MOST_CONFUSIONS),
        worst_images=worst_images(mean, owner, MOST_CONFUSIONS),
        image_ids=tables.images.ids,
        captions=[caption.text for caption in readers.parsed_captions()],
        versions=read_json(runs[0].folder / "run.json").get("versions", {}),
    )


def _metrics(folder: Path) -> list[dict[str, Any]]:
    return read_metrics(folder) if (folder / METRICS_FILE).exists() else []
