"""Verify a folder of shards: each shard alone, and regions against captions."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.errors import DataError, SettingsError
from pipeline.image_ids import by_key, image_key, join_ids
from pipeline.shards.checks import CheckedShard, check_shard
from pipeline.shards.schema import KINDS, Kind
from pipeline.shards.sidecar import (
    Sidecar,
    check_alike,
    find_sidecars,
    partial_folder,
    sidecar_path,
)
from pipeline.shards.splits import FILE as SPLITS_FILE
from pipeline.shards.splits import UNSPLIT, read_splits
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
        joined: captions that have their image, over all splits; None where one kind is absent.
        problems: empty if there is none.
        notices: remarks that need no action.
    """

    directory: str
    full: bool
    shards: dict[Kind, int]
    records: dict[Kind, int]
    joined: int | None
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
        if self.joined is not None:
            lines.append(f"{self.joined:,} of {self.records['captions']:,} captions have an image")
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
    joined = None
    if all(c.sidecar is not None and len(c.ids) == c.sidecar.num_records for c in checked):
        regions, captions = _Ids(checked, "regions"), _Ids(checked, "captions")
        if regions.splits and captions.splits:
            image_of = _joined_images(regions, captions)
            joined = sum(image in regions.split_of for image in image_of.values())
            problems += _disagreement(regions, captions, image_of)
        problems += _undrawn(directory, regions)
    if manifest is not None:
        problems += _against_manifest(checked, manifest, root or manifest.parent)
    readable = [c.sidecar for c in checked if c.sidecar is not None]
    notices += [notice for sidecar in readable for notice in sidecar.notices]
    failed = sum(len(sidecar.failures) for sidecar in readable)
    if failed:
        what = "image or caption" if failed == 1 else "images and captions"
        notices.append(f"{failed:,} {what} failed: pipeline info --failed {directory} lists them.")
    return VerifyReport(
        directory=str(directory),
        full=full,
        shards={kind: sum(s.kind == kind for s in readable) for kind in KINDS},
        records={kind: sum(s.num_records for s in readable if s.kind == kind) for kind in KINDS},
        joined=joined,
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
    """Problems between the shards of a kind: fingerprints, shapes, ids that appear twice."""
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


_SHOWN = 5  # ids named in one message
_EXAMPLES = 3  # ids of each side, to show how they differ


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


def _joined_images(regions: _Ids, captions: _Ids) -> dict[str, str]:
    """Id of its image, in a shard or failed, by caption; captions without one are left out."""
    joined = join_ids(captions.image_of.values(), [*regions.split_of, *regions.failed])
    return {
        caption: joined[image] for caption, image in captions.image_of.items() if image in joined
    }


def _disagreement(regions: _Ids, captions: _Ids, image_of: Mapping[str, str]) -> Iterator[Problem]:
    """Captions without an image or in another split, and images without a caption."""
    lone = [caption for caption in captions.image_of if caption not in image_of]
    moved = []
    for caption, image in image_of.items():
        splits = captions.split_of[caption], regions.split_of.get(image)
        if not UNSPLIT & set(splits) and splits[0] != splits[1]:
            moved.append(caption)
    described = set(image_of.values())
    described |= set(  # ids are image#k
        join_ids((f.rpartition("#")[0] for f in captions.failed), regions.split_of).values()
    )
    common = regions.splits & captions.splits
    bare = sorted(
        i for i, split in regions.split_of.items() if split in common and i not in described
    )
    yield from _lone(lone, regions, captions)
    yield from _one("captions", "agreement", moved, "captions in another split than their image")
    yield from _one("regions", "agreement", bare, "images without a caption")


def _lone(lone: list[str], regions: _Ids, captions: _Ids) -> Iterator[Problem]:
    """Captions without an image; of a split that none is joined of, how both sides name images."""
    yield from _one("captions", "agreement", lone, "captions of an image that is in no shard")
    named = dict.fromkeys(captions.image_of[caption] for caption in lone)
    images = by_key(regions.split_of)
    shared = {
        name: images[key] for name in named if len(images.get(key := image_key(name), ())) > 1
    }
    if shared:
        name, owners = next(iter(shared.items()))
        count = "1 name" if len(shared) == 1 else f"{len(shared):,} names"
        message = f"{count} of images in captions fit several images: {name} may be "
        message += f"{_some(owners, _EXAMPLES)}. Give their paths in the captions."
        yield Problem("captions", "agreement", message)
    missing = set(lone)
    for split in sorted(captions.splits, key=str):
        ids = [caption for caption, of in captions.split_of.items() if of == split]
        if ids and missing.issuperset(ids):
            named = dict.fromkeys(captions.image_of[caption] for caption in ids)
            where = "" if split in UNSPLIT else f" of split {split}"
            yield Problem(
                "captions",
                "agreement",
                f"none of {len(ids):,} captions{where} has its image (captions name "
                f"{_some(named, _EXAMPLES)}; images are called "
                f"{_some(regions.split_of, _EXAMPLES)}). Import them with --ids, or "
                "add the images.",
            )


def _undrawn(directory: Path, regions: _Ids) -> Iterator[Problem]:
    """Images that `pipeline split` put into no split."""
    try:
        drawn = read_splits(directory)
    except DataError as error:
        yield Problem(SPLITS_FILE, "splits", str(error))
        return
    if drawn is not None:
        known = {image for ids in drawn.values() for image in ids}
        undrawn = [image for image in regions.split_of if image not in known]
        yield from _one("regions", "splits", undrawn, "images that pipeline split has not divided")


def _against_manifest(checked: list[CheckedShard], manifest: Path, root: Path) -> Iterator[Problem]:
    """Records that are not in the manifest, and items of the manifest without a record."""
    from pipeline.manifests.manifest import (
        caption_items,
        load_manifest,  # manifests bring yaml; most calls need none
    )

    entries = load_manifest(manifest).captioned_images(root)
    images = {image.image_id: image.split for image in entries}
    regions, captions = _Ids(checked, "regions"), _Ids(checked, "captions")
    if regions.splits:
        joined = join_ids(regions.split_of, images)
        failed = set(join_ids(regions.failed, images).values())
        yield from _differences("regions", regions, joined, images, failed)
    if captions.splits:
        texts = {caption.id: caption.split for caption in caption_items(entries)}
        same = {id_: id_ for id_ in captions.split_of if id_ in texts}
        yield from _differences("captions", captions, same, texts, captions.failed)


def _differences(
    kind: Kind,
    ours: _Ids,
    joined: Mapping[str, str],
    theirs: Mapping[str, str],
    failed: Set[str],
) -> Iterator[Problem]:
    """Ids of one kind without a partner on the other side.

    Args:
        kind: of the shards.
        ours: the ids in the shards.
        joined: id in the manifest by id in the shards.
        theirs: split by id in the manifest.
        failed: ids in the manifest of items that failed.
    """
    is_whole = bool(ours.splits & UNSPLIT)
    here = {id_ for id_, split in theirs.items() if is_whole or split in ours.splits}
    unknown = [id_ for id_ in ours.split_of if joined.get(id_) not in here]
    absent = sorted(here - set(joined.values()) - failed)
    yield from _one(kind, "manifest", unknown, "ids that are not in the manifest's splits")
    yield from _one(kind, "manifest", absent, "ids of the manifest that are in no shard")


def _one(kind: Kind, check: str, ids: list[str], what: str) -> Iterator[Problem]:
    if ids:
        yield Problem(kind, check, f"{len(ids):,} {what}: {_some(ids)}.")


def _some(ids: Iterable[str], shown: int = _SHOWN) -> str:
    ids = list(ids)
    return ", ".join(ids[:shown]) + (", ..." if len(ids) > shown else "")
