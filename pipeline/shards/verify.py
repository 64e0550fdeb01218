"""Verify a folder of shards: each shard alone, and regions against captions."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.errors import DataError, SettingsError
from pipeline.shards.checks import CheckedShard, check_shard
from pipeline.shards.schema import KINDS, Kind
from pipeline.shards.sidecar import (
    Sidecar,
    check_alike,
    find_sidecars,
    partial_folder,
    sidecar_path,
)
from pipeline.tables import render_table


@dataclass(frozen=True)
class Problem:
    """A problem: the shard (or the kind, if it concerns several), the check, and a message."""

    shard: str
    check: str
    message: str


@dataclass(frozen=True)
class VerifyReport:
    """The result of `verify_shards`.

    Attributes:
        directory: the folder.
        full: whether hashes were compared.
        shards: number of shards checked, by kind.
        records: number of images and captions in them, by kind.
        problems: empty if there is none.
        notices: remarks that need no action.
    """

    directory: str
    full: bool
    shards: dict[Kind, int]
    records: dict[Kind, int]
    problems: tuple[Problem, ...]
    notices: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    def to_json(self) -> str:
        """The report as JSON text."""
        return json.dumps({"ok": self.ok, **asdict(self)}, ensure_ascii=False, indent=1)

    def to_table(self) -> str:
        """The report as text for a terminal."""
        looked_at = ", ".join(
            f"{self.records[kind]:,} {'images' if kind == 'regions' else 'captions'} "
            f"in {number} shards"
            for kind, number in self.shards.items()
            if number
        )
        depth = "content and hashes" if self.full else "content; hashes with --full"
        lines = [f"{self.directory}: {looked_at or 'no valid shard'} ({depth})"]
        lines += [f"note: {notice}" for notice in self.notices]
        if self.ok:
            return "\n".join([*lines, "no problem found"])
        rows = [(p.shard, p.check, p.message) for p in self.problems]
        table = render_table(("shard", "check", "problem"), rows)
        return "\n".join([*lines, table, f"{len(rows)} problems found"])


def verify_shards(
    directory: Path | str,
    *,
    full: bool = False,
    manifest: Path | None = None,
    root: Path | None = None,
) -> VerifyReport:
    """Check all shards of a folder.

    Args:
        directory: the folder.
        full: also compare the SHA-256 of every shard, and its HDF5 structure with the sidecar.
        manifest: a manifest whose images and captions the shards should contain.
        root: folder of the manifest's files; default: the folder of the manifest.

    Raises:
        DataError: there is no such folder, or it has no shard.
        SettingsError: a root was given without a manifest.
    """
    directory = Path(directory)
    if root is not None and manifest is None:
        raise SettingsError("--root needs a manifest. Give --manifest, too.")
    sidecars = find_sidecars(directory)
    alone, notices = _strays(directory)
    if not sidecars and not alone:
        raise DataError(
            f"{directory} has no shards: expected regions-00000.h5 or captions-00000.h5 with "
            "their .json. Make them with pipeline extract-regions or parse-captions."
        )
    checked = [check_shard(path, full=full) for path in sidecars]
    problems = [*alone, *(Problem(c.file, *fault) for c in checked for fault in c.faults)]
    problems += _across(checked)
    if manifest is not None:
        problems += _against_manifest(checked, manifest, root or manifest.parent)
    readable = [c.sidecar for c in checked if c.sidecar is not None]
    notices += [notice for sidecar in readable for notice in sidecar.notices]
    return VerifyReport(
        directory=str(directory),
        full=full,
        shards={kind: sum(s.kind == kind for s in readable) for kind in KINDS},
        records={kind: sum(s.num_records for s in readable if s.kind == kind) for kind in KINDS},
        problems=tuple(problems),
        notices=tuple(dict.fromkeys(notices)),
    )


def _strays(directory: Path) -> tuple[list[Problem], list[str]]:
    """Shards without a sidecar, and leftovers of interrupted writes."""
    alone, notices = [], []
    for kind in KINDS:
        for shard in sorted(directory.glob(f"{kind}-*.h5")):
            if not sidecar_path(shard).exists():
                message = "its sidecar is missing, so it is not valid. Resume the run."
                alone.append(Problem(shard.name, "sidecar", message))
        if partial_folder(directory, kind).exists():
            message = "an import is unfinished: let it finish, or run the same import again."
            alone.append(Problem(f"{kind}.partial", "sidecar", message))
        notices += [
            f"{left.name} was left by an interrupted write and can be deleted."
            for left in sorted(directory.glob(f"{kind}-*.tmp"))
        ]
    return alone, notices


def _across(checked: list[CheckedShard]) -> Iterator[Problem]:
    """Problems between shards: fingerprints, shapes, ids, captions without their image."""
    for kind in KINDS:
        shards = [(c, c.sidecar) for c in checked if c.sidecar and c.sidecar.kind == kind]
        for _, sidecar in shards[1:]:
            yield from _unlike(sidecar, shards[0][1])
        filled = [sidecar for _, sidecar in shards if sidecar.num_records]
        for sidecar in filled[1:]:
            yield from _other_shape(sidecar, filled[0])
        twice = [id_ for id_, n in Counter(i for c, _ in shards for i in c.ids).items() if n > 1]
        for id_ in twice[:_SHOWN]:
            files = [c.file for c, _ in shards for i in c.ids if i == id_]
            yield Problem(files[-1], "ids", f"{id_!r} appears {len(files)} times: {_some(files)}.")
        if len(twice) > _SHOWN:
            yield Problem(kind, "ids", f"{len(twice) - _SHOWN:,} more ids appear twice.")
    if all(c.sidecar is not None and len(c.ids) == c.sidecar.num_records for c in checked):
        yield from _disagreement(_Ids(checked, "regions"), _Ids(checked, "captions"))


_SHOWN = 5  # ids named in one message


def _unlike(sidecar: Sidecar, first: Sidecar) -> Iterator[Problem]:
    try:
        check_alike(sidecar, first)
    except DataError as error:
        yield Problem(sidecar.file, "fingerprint", str(error))


def _other_shape(sidecar: Sidecar, first: Sidecar) -> Iterator[Problem]:
    ours, theirs = sidecar.datasets, first.datasets
    for name in sorted(set(ours) ^ set(theirs)):
        lacks, has = (first, sidecar) if name in ours else (sidecar, first)
        yield Problem(lacks.file, "schema", f"has no {name}, but {has.file} has.")
    for name in sorted(set(ours) & set(theirs)):
        if (ours[name].shape[1:], ours[name].dtype) != (theirs[name].shape[1:], theirs[name].dtype):
            message = (
                f"{name} are {ours[name].dtype} {list(ours[name].shape[1:])}, in {first.file} "
            )
            message += f"{theirs[name].dtype} {list(theirs[name].shape[1:])}."
            yield Problem(sidecar.file, "schema", message)


class _Ids:
    """Ids of the records of one kind over all shards, with their splits."""

    def __init__(self, checked: list[CheckedShard], kind: Kind) -> None:
        shards = [(c, c.sidecar) for c in checked if c.sidecar and c.sidecar.kind == kind]
        self.kind = kind
        self.splits = {sidecar.split for _, sidecar in shards}
        self.failed = {id_ for _, sidecar in shards for id_ in sidecar.failures}
        self.split_of = {id_: sidecar.split for c, sidecar in shards for id_ in c.ids}
        self.image_of = {
            i: image for c, _ in shards for i, image in zip(c.ids, c.image_ids, strict=True)
        }


def _disagreement(regions: _Ids, captions: _Ids) -> Iterator[Problem]:
    """Captions without an image and images without a caption, in the splits that both have."""
    common = regions.splits & captions.splits
    images = {image for image, split in regions.split_of.items() if split in common}
    lone, moved = [], []
    for caption, image in captions.image_of.items():
        split = captions.split_of[caption]
        if image in regions.split_of:
            if None not in (split, regions.split_of[image]) and split != regions.split_of[image]:
                moved.append(caption)
        elif split in common and image not in regions.failed:
            lone.append(caption)
    described = set(captions.image_of.values())
    described |= {failed.rpartition("#")[0] for failed in captions.failed}  # ids are image#k
    bare = sorted(images - described)
    yield from _one("captions", "agreement", lone, "captions of an image that is in no shard")
    yield from _one("captions", "agreement", moved, "captions in another split than their image")
    yield from _one("regions", "agreement", bare, "images without a caption")


def _against_manifest(checked: list[CheckedShard], manifest: Path, root: Path) -> Iterator[Problem]:
    """Records that are not in the manifest, and items of the manifest without a record."""
    from pipeline.manifests.manifest import (
        load_manifest,  # manifests bring yaml; most calls need none
    )

    data = load_manifest(manifest)
    for kind in KINDS:
        ours = _Ids(checked, kind)
        if not ours.splits:
            continue
        items = data.images(root) if kind == "regions" else data.captions(root)
        here = {item.id for item in items if {item.split, None} & ours.splits}
        unknown = [id_ for id_ in ours.split_of if id_ not in here]
        absent = sorted(here - set(ours.split_of) - ours.failed)
        yield from _one(kind, "manifest", unknown, "ids that are not in the manifest's splits")
        yield from _one(kind, "manifest", absent, "ids of the manifest that are in no shard")


def _one(kind: Kind, check: str, ids: list[str], what: str) -> Iterator[Problem]:
    if ids:
        yield Problem(kind, check, f"{len(ids):,} {what}: {_some(ids)}.")


def _some(ids: Iterable[str]) -> str:
    ids = list(ids)
    return ", ".join(ids[:_SHOWN]) + (", ..." if len(ids) > _SHOWN else "")
