"""Assign items to shards, and find the shards that are finished already."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import DataError, SettingsError
from pipeline.execution.stage import NOUNS, Item, Stage
from pipeline.fingerprint import differences, digest
from pipeline.shards.schema import Kind
from pipeline.shards.sidecar import (
    check_shard_file,
    find_sidecars,
    read_sidecar,
    shard_path,
    sidecar_path,
)


@dataclass(frozen=True)
class ShardJob:
    """One shard to make.

    Attributes:
        path: of the shard.
        split: the split of its items.
        items: its items, in order.
        is_retry: the shard exists, and only its failed items are processed again.
    """

    path: Path
    split: str
    items: tuple[Item, ...]
    is_retry: bool = False


@dataclass(frozen=True)
class FinishedShard:
    """A shard that exists: its number of records and the reason of each failure."""

    records: int
    failures: Mapping[str, str]


def plan_shards(items: Iterable[Item], out: Path, kind: Kind, shard_size: int) -> list[ShardJob]:
    """Divide the items into shards of one split each, keeping their order.

    Raises:
        DataError: there are no items, or two have the same id.
    """
    splits: dict[str, list[Item]] = {}
    for item in items:
        splits.setdefault(item.split, []).append(item)
    if not splits:
        raise DataError(f"there are no {NOUNS[kind]} to process: the source is empty.")
    _check_unique(splits, kind)
    cuts = [
        (split, tuple(part[start : start + shard_size]))
        for split, part in splits.items()
        for start in range(0, len(part), shard_size)
    ]
    return [
        ShardJob(shard_path(out, kind, number), split, cut)
        for number, (split, cut) in enumerate(cuts)
    ]


def _check_unique(splits: Mapping[str, Sequence[Item]], kind: Kind) -> None:
    places: dict[str, list[str]] = {}
    for split, items in splits.items():
        for item in items:
            places.setdefault(item.id, []).append(split)
    twice = {id_: found for id_, found in places.items() if len(found) > 1}
    if not twice:
        return
    first, found = next(iter(twice.items()))
    where = f"{len(found)} times in split {' and '.join(dict.fromkeys(found))}"
    advice = "Remove the duplicates"
    advice += ": each belongs to one split." if len(set(found)) > 1 else "."
    if kind == "regions":
        advice += (
            " Pictures of one file name in several folders are told apart where the manifest's "
            "image_pattern has {folder}."
        )
    raise DataError(
        f"the ids of {NOUNS[kind]} must be unique, but {len(twice):,} are repeated, the first "
        f"{first!r} ({where}). {advice}"
    )


def run_fingerprint(stage: Stage, jobs: Sequence[ShardJob], shard_size: int) -> dict[str, Any]:
    """What must be equal, besides the stage's settings, for shards to belong to one run.

    `model` is the stage's own fingerprint; `inputs` is a digest of the identities of all items.
    """
    return {
        "stage": stage.name,
        "model": dict(stage.fingerprint()),
        "inputs": digest([item.identity for job in jobs for item in job.items]),
        "shard_size": shard_size,
        "dtype": stage.dtype,
    }


def prepare_folder(out: Path, kind: Kind, *, overwrite: bool) -> None:
    """Create the folder of shards; remove leftovers of a killed run, or all shards of the kind.

    Raises:
        SettingsError: the path is a file.
    """
    if out.exists() and not out.is_dir():
        raise SettingsError(
            f"expected a folder for the shards, but {out} is a file. Choose another --out."
        )
    out.mkdir(parents=True, exist_ok=True)
    for leftover in out.glob(f"{kind}-*.tmp"):
        leftover.unlink(missing_ok=True)
    if overwrite:
        for sidecar in find_sidecars(out, kind):
            sidecar.unlink()  # before its shard: without a sidecar a shard does not exist
            sidecar.with_suffix(".h5").unlink(missing_ok=True)


def finished_shards(
    out: Path,
    kind: Kind,
    jobs: Sequence[ShardJob],
    settings: Mapping[str, Any],
    fingerprint: Mapping[str, Any],
) -> dict[Path, FinishedShard]:
    """The finished shards of this run, by path.

    Raises:
        DataError: a shard belongs to another run, or is damaged.
    """
    ours = {"settings": settings, "fingerprint": fingerprint}
    planned = {job.path for job in jobs}
    finished = {}
    for path in find_sidecars(out, kind):
        sidecar = read_sidecar(path)
        theirs = {"settings": sidecar.settings, "fingerprint": sidecar.fingerprint}
        if ours != theirs:
            raise _other_run(out, differences(ours, theirs))
        check_shard_file(sidecar, path)
        shard = path.with_suffix(".h5")
        if shard in planned:
            finished[shard] = FinishedShard(sidecar.num_records, dict(sidecar.failures))
    return finished


def read_finished(job: ShardJob) -> FinishedShard:
    """The shard that a task has just made.

    Raises:
        DataError: it does not exist.
    """
    sidecar = read_sidecar(sidecar_path(job.path))
    return FinishedShard(sidecar.num_records, dict(sidecar.failures))


def _other_run(out: Path, lines: Sequence[str]) -> DataError:
    shown = [line if len(line) <= 160 else f"{line[:157]}..." for line in lines[:3]]
    more = f" and {len(lines) - 3} more" if len(lines) > 3 else ""
    return DataError(
        f"{out} has the shards of another run, which differs in {'; '.join(shown)}{more}.\n"
        "Use the settings and inputs of that run to resume it, choose another --out, "
        "or delete its shards and start over with --overwrite."
    )
