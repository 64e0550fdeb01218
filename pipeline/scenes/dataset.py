"""Generate the data set: pictures, captions, annotations, hard pairs and their manifest."""

import json
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from pipeline.errors import DataError, SettingsError
from pipeline.scenes.annotations import (
    PairRecord,
    captions_json,
    hard_pairs_json,
    instances_json,
    manifest,
    pair_record,
)
from pipeline.scenes.captions import Caption, NoCaptionError, write_captions
from pipeline.scenes.drawing import draw
from pipeline.scenes.layout import CORE_RELATIONS, Twins, make_twins

LAYOUT_VERSION = 1
"""Goes up when the same seed would give other bytes."""

MIN_IMAGES = 20
HELD_OUT = 0.1
"""Share of the images in `val`, and again in `test`."""

PAIRS_PER_TASK = 20
COMPRESSION = 4
"""Of PNG, 1 to 9: half the time of the usual 6, files an eighth larger."""
_SPLIT, _PAIR = 0, 1
"""Second part of the seeds: one stream assigns splits, one for each pair draws it."""


@dataclass(frozen=True)
class ScenesReport:
    """The result of a run: what it made, or found.

    Attributes:
        images: number of images by split.
        num_hard_pairs: number of hard pairs, of all splits that have them.
        was_there: whether the same data set existed already, so that nothing was written.
    """

    images: dict[str, int]
    num_hard_pairs: int
    was_there: bool = False


@dataclass(frozen=True)
class _Task:
    """Pairs of twins that one process makes."""

    out: Path
    seed: int
    pairs: tuple["_PairPlan", ...]


@dataclass(frozen=True)
class _PairPlan:
    number: int
    split: str
    relation: str


def make_scenes(
    out: Path, *, num_images: int, seed: int = 0, workers: int | None = None
) -> ScenesReport:
    """Draw `num_images` pictures in pairs of twins and write the data set to `out`.

    The bytes depend on `num_images` and `seed` alone, not on `workers`. The manifest is written
    last: a folder without it is incomplete.

    Args:
        out: a new or empty folder, or one that holds the very same data set already.
        num_images: even, at least `MIN_IMAGES`.
        seed: not negative.
        workers: number of processes; None for all available cores.

    Raises:
        SettingsError: the number of images cannot be split into pairs of twins and three splits.
        DataError: the folder holds something else, or cannot be written.
    """
    _check_number(num_images)
    settings = {"layout_version": LAYOUT_VERSION, "images": num_images, "seed": seed}
    if _is_there(out, settings):
        return _report(out, was_there=True)
    try:
        (out / "images").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"cannot write to {out}: {error.strerror}. Give --out a folder that may be written."
        ) from error
    plans = _plan_pairs(num_images // 2, seed)
    tasks = [
        _Task(out, seed, tuple(plans[start : start + PAIRS_PER_TASK]))
        for start in range(0, len(plans), PAIRS_PER_TASK)
    ]
    records = list(_run(tasks, workers or os.cpu_count() or 1))
    _write_json(out / "captions.json", captions_json(records))
    _write_json(out / "instances.json", instances_json(records, settings))
    _write_json(out / "hard_pairs.json", hard_pairs_json(records))
    text = yaml.safe_dump(manifest(records, settings), sort_keys=False, allow_unicode=True)
    (out / "scenes.yaml").write_text(text, encoding="utf-8")
    return _report(out)


def _check_number(num_images: int) -> None:
    if num_images < MIN_IMAGES:
        raise SettingsError(
            f"expected at least {MIN_IMAGES} images, as each split needs a pair of twins; "
            f"got {num_images}. Use at least --images {MIN_IMAGES}"
        )
    if num_images % 2:
        raise SettingsError(
            f"expected an even number of images, as they come in pairs of twins; "
            f"got {num_images}. Use --images {num_images + 1}"
        )


def _is_there(out: Path, settings: dict[str, int]) -> bool:
    """Whether the folder holds this data set; False where it is new or empty."""
    if out.exists() and not out.is_dir():
        raise DataError(f"expected a folder at {out}, a file is there. Give --out another path.")
    if not out.is_dir() or not any(out.iterdir()):
        return False
    if not (out / "scenes.yaml").is_file():
        raise DataError(
            f"expected a new or empty folder, {out} holds files but no complete set of scenes "
            "(another thing, or a run that was stopped).\nGive --out another folder, or delete it."
        )
    try:
        info = json.loads((out / "instances.json").read_text(encoding="utf-8"))["info"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{out} holds a manifest of scenes, but its instances.json is missing or damaged "
            f"({type(error).__name__}).\nGive --out another folder, or delete it."
        ) from error
    found = {key: info.get(key) for key in settings}
    if found != settings:
        raise DataError(
            f"{out} holds scenes of another run: {_said(found)}; this run asks for "
            f"{_said(settings)}.\nGive --out another folder, or delete it."
        )
    return True


def _said(settings: dict[str, Any]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in settings.items())


def _plan_pairs(num_pairs: int, seed: int) -> list[_PairPlan]:
    """Random split and core relation of each pair, each relation equally often in each split."""
    held_out = max(1, round(HELD_OUT * num_pairs))
    order = np.random.default_rng([seed, _SPLIT]).permutation(num_pairs)
    bounds = {"test": order[:held_out], "val": order[held_out : 2 * held_out]}
    bounds["train"] = order[2 * held_out :]
    plans = [
        _PairPlan(int(number), split, CORE_RELATIONS[rank % len(CORE_RELATIONS)])
        for split, numbers in bounds.items()
        for rank, number in enumerate(numbers)
    ]
    return sorted(plans, key=lambda plan: plan.number)


def _run(tasks: list[_Task], workers: int) -> Iterator[PairRecord]:
    if min(workers, len(tasks)) == 1:
        for task in tasks:
            yield from _make_pairs(task)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy the caller's threads' locks
    with ProcessPoolExecutor(min(workers, len(tasks)), mp_context=context) as pool:
        for records in pool.map(_make_pairs, tasks):
            yield from records


def _make_pairs(task: _Task) -> list[PairRecord]:
    """Draw the pictures of some pairs; what is known of them goes back to the caller."""
    records = []
    for plan in task.pairs:
        rng = np.random.default_rng([task.seed, _PAIR, plan.number])
        twins, captions = _captioned_twins(rng, plan.relation)
        record = pair_record(plan.number, plan.split, twins, captions)
        for scene, image in zip(twins.scenes, record.images, strict=True):
            path = task.out / "images" / image.file_name
            Image.fromarray(draw(scene)).save(path, compress_level=COMPRESSION)
        records.append(record)
    return records


def _captioned_twins(
    rng: np.random.Generator, relation: str
) -> tuple[Twins, tuple[list[Caption], list[Caption]]]:
    while True:
        twins = make_twins(rng, relation)
        try:
            return twins, write_captions(rng, twins)
        except NoCaptionError:
            continue


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, separators=(",", ":")) + "\n", encoding="utf-8")


def _report(out: Path, *, was_there: bool = False) -> ScenesReport:
    content = yaml.safe_load((out / "scenes.yaml").read_text(encoding="utf-8"))
    hard_pairs = json.loads((out / "hard_pairs.json").read_text(encoding="utf-8"))["pairs"]
    images = {split: counts["images"] for split, counts in content["splits"].items()}
    return ScenesReport(images, len(hard_pairs), was_there)
