"""Convert a file of another project to shards, completely or not at all."""

import hashlib
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import DataError
from pipeline.fingerprint import as_json, differences, file_digest
from pipeline.shards.arrays import open_shard
from pipeline.shards.convert.formats import format_named
from pipeline.shards.convert.new_ids import renamed
from pipeline.shards.convert.source import ReadOptions, Source
from pipeline.shards.failures import failure_lines
from pipeline.shards.records import Failure, ImageRegions
from pipeline.shards.sidecar import (
    Sidecar,
    find_sidecars,
    partial_folder,
    read_sidecar,
    shard_number,
    shard_path,
    sidecar_path,
)
from pipeline.shards.writer import write_shard

TAIL_BYTES = 4096
"""Of each input file this much of its end goes into the settings: a zip file has its CRCs there."""


@dataclass(frozen=True)
class ImportReport:
    """The result of an import.

    Attributes:
        images: number of images.
        regions: number of regions.
        shards: number of shards.
        notices: sentences that a user of the shards should read.
        is_new: False if the folder had this import already.
        failures: the reason for each image that was skipped, by id.
    """

    images: int
    regions: int
    shards: int
    notices: tuple[str, ...]
    is_new: bool
    failures: Mapping[str, str]

    def failed(self, shards: Path) -> str:
        """The failures, a line each, then a line that counts them; empty without failures."""
        total = self.images + len(self.failures)
        lines = failure_lines(self.failures, total, "images", shards)
        if lines:
            lines[-1] += " After fixing them, import again with --overwrite."
        return "".join(f"{line}\n" for line in lines)


def import_regions(
    source: Path,
    out: Path,
    format_name: str,
    *,
    options: ReadOptions | None = None,
    dtype: str = "float16",
    shard_size: int = 1000,
    overwrite: bool = False,
    on_shard: Callable[[Sidecar], None] | None = None,
) -> ImportReport:
    """Write the images of another project's file or folder as shards of regions.

    Memory holds the arrays of one shard and one image of the input. Shards are written to
    `out/regions.partial` and moved when all are finished; while that folder exists, readers refuse
    `out`. An interrupted import goes on after its last finished shard when it is repeated with the
    same input. The inputs of a data set, such as a file for each split, may come into one folder,
    one import after the other.

    Args:
        source: the file or folder.
        out: the folder of shards; it may be empty or hold captions.
        format_name: one of `formats.FORMATS`.
        options: split, ids, and whether pickles are trusted.
        dtype: of features and scores, float16 or float32.
        shard_size: maximum number of images per shard.
        overwrite: replace the images in `out` of the same splits.
        on_shard: called with the sidecar of each shard that was written.

    Raises:
        SettingsError: the format is unknown, or ids are given for several SCAN arrays.
        DataError: the input is faulty (the message names file, row and field), `out` has regions of
            another format or precision (the message says what differs), or an image is there
            already.
    """
    options = options or ReadOptions()
    sources = format_named(format_name).read(source, options)
    if options.ids and format_name != "scan":  # whose ids have their own rule, for repeated rows
        sources = [renamed(part, options.ids) for part in sources]
    settings = {"command": "import-regions", "format": format_name, "dtype": dtype}
    about = {"settings": settings, "fingerprint": {"imported-from": format_name}}
    about_input = about | {"source": as_json(_source(sources, options, shard_size))}
    partial = partial_folder(out, "regions")
    found = _sidecars_of(out, about)
    same = [sidecar for sidecar in found if sidecar.source == about_input["source"]]
    if same and not partial.exists():
        return _report(same, sources, is_new=False)
    out.mkdir(parents=True, exist_ok=True)
    finished = _finished(partial, about_input)
    others = _without_unfinished(partial, out, found, about_input["source"], finished)
    replaced = [s for s in others if overwrite and s.split in {part.split for part in sources}]
    partial.mkdir(exist_ok=True)
    try:
        sidecars = []
        known = _known_ids(out, [sidecar for sidecar in others if sidecar not in replaced])
        first = 1 + max((shard_number(out / sidecar.file) for sidecar in others), default=-1)
        for part in sources:
            number = first + len(sidecars)
            records = _new_ones(part.records, known)
            part = replace(part, records=records)
            for sidecar in _write(part, partial, number, shard_size, dtype, finished, about_input):
                sidecars.append(sidecar)
                if on_shard:
                    on_shard(sidecar)
        _check_not_empty(sidecars, source)
    except BaseException as error:
        # An interrupted import goes on after its finished shards; a faulty input leaves nothing.
        if isinstance(error, DataError) or not _finished(partial, about_input):
            shutil.rmtree(partial, ignore_errors=True)
        raise
    _remove(out, replaced)
    _move(partial, out)
    return _report(sidecars, sources, is_new=True)


def _source(sources: list[Source], options: ReadOptions, shard_size: int) -> dict[str, Any]:
    """What tells one input of a folder from another."""
    return {
        "inputs": _inputs_digest([file for part in sources for file in part.files]),
        "ids": file_digest(options.ids) if options.ids else None,
        "split": options.split,
        "shard_size": shard_size,
    }


def _inputs_digest(files: Iterable[Path]) -> dict[str, Any]:
    """Digest of names, sizes and ends of the files; hashing all bytes would read them twice."""
    digest, count, size = hashlib.sha256(), 0, 0
    for file in files:
        with file.open("rb") as stream:
            num_bytes = file.stat().st_size
            stream.seek(max(0, num_bytes - TAIL_BYTES))
            digest.update(f"{file.name}\0{num_bytes}\0".encode())
            digest.update(stream.read(TAIL_BYTES))
        count, size = count + 1, size + num_bytes
    return {"files": count, "bytes": size, "sha256": digest.hexdigest()}


def _sidecars_of(out: Path, about: dict[str, Any]) -> list[Sidecar]:
    """The sidecars of regions in the folder, which this import can be added to.

    Raises:
        DataError: another run made them; the message says what differs.
    """
    if not out.is_dir():
        if out.exists():
            raise DataError(f"{out} is a file: expected a folder for shards, or a new name.")
        return []
    found = [read_sidecar(path) for path in find_sidecars(out, "regions")]
    for sidecar in found:
        theirs = {"settings": sidecar.settings, "fingerprint": sidecar.fingerprint}
        lines = differences(about, theirs)
        if lines:
            raise DataError(
                f"{out} holds regions of another run: {'; '.join(lines[:3])}.\n"
                "Choose another --out, or remove the regions-* files there."
            )
    return found


def _finished(partial: Path, about: dict[str, Any]) -> dict[str, Sidecar]:
    """Shards of the same input that an interrupted import has finished, by file name."""
    if not partial.exists():
        return {}
    sidecars = [read_sidecar(path) for path in find_sidecars(partial)]
    return {
        sidecar.file: sidecar
        for sidecar in sidecars
        if (sidecar.source, sidecar.settings) == (about["source"], about["settings"])
        and (partial / sidecar.file).exists()
    }


def _without_unfinished(
    partial: Path, out: Path, found: list[Sidecar], source: Any, finished: Mapping[str, Sidecar]
) -> list[Sidecar]:
    """Remove what an interrupted import left, but for its finished shards if it is this one.

    Of an import that was interrupted while its shards were moved, those in the folder go too.

    Returns:
        The sidecars of the other imports in the folder.
    """
    unfinished = [source]
    if partial.exists():
        unfinished += [read_sidecar(path).source for path in find_sidecars(partial)]
        kept = {Path(file).stem for file in finished}
        for left in partial.iterdir():
            if left.stem not in kept:
                left.unlink()
    others = []
    for sidecar in found:
        if sidecar.source in unfinished:
            _remove(out, [sidecar])
        else:
            others.append(sidecar)
    return others


def _remove(out: Path, sidecars: Iterable[Sidecar]) -> None:
    """Remove shards; the sidecar goes first, as without it a shard does not exist."""
    for sidecar in sidecars:
        shard = out / sidecar.file
        sidecar_path(shard).unlink()
        shard.unlink(missing_ok=True)


def _known_ids(out: Path, sidecars: list[Sidecar]) -> dict[str, Sidecar]:
    """Ids of the images in the folder, with the sidecar of their shard."""
    return {
        id_: sidecar for sidecar in sidecars for id_ in open_shard(out / sidecar.file, sidecar).ids
    }


def _write(
    part: Source,
    folder: Path,
    first: int,
    shard_size: int,
    dtype: str,
    finished: Mapping[str, Sidecar],
    about: dict[str, Any],
) -> Iterator[Sidecar]:
    outcomes = _with_width(part.records)
    for number, head in enumerate(outcomes, start=first):
        path = shard_path(folder, "regions", number)
        own = chain([head], islice(outcomes, shard_size - 1))
        failures: list[Failure] = []
        if path.name in finished:
            deque(own, maxlen=0)  # read again, to check what follows against it
            yield finished[path.name]
            continue
        yield write_shard(
            path,
            "regions",
            _sound(own, failures),
            split=part.split,
            failures=failures,
            dtype=dtype,
            notices=part.notices,
            **about,
        )


def _new_ones(
    outcomes: Iterable[ImageRegions | Failure], known: Mapping[str, Sidecar]
) -> Iterator[ImageRegions | Failure]:
    """The images; one that another import has brought is an error, even if faulty ones are skipped.

    An image would have two records, perhaps in two splits.
    """
    for outcome in outcomes:
        if isinstance(outcome, ImageRegions) and outcome.image_id in known:
            there = known[outcome.image_id]
            where = f"of split {there.split}" if there.split else "without a split"
            raise DataError(
                f"the image {outcome.image_id!r} is in {there.file} {where} already: an earlier "
                "import has brought it.\n"
                f"Import each image once, or replace all images {where} with --overwrite."
            )
        yield outcome


def _sound(
    outcomes: Iterable[ImageRegions | Failure], failures: list[Failure]
) -> Iterator[ImageRegions]:
    for outcome in outcomes:
        if isinstance(outcome, Failure):
            failures.append(outcome)
        else:
            yield outcome


def _with_width(outcomes: Iterable[ImageRegions | Failure]) -> Iterator[ImageRegions | Failure]:
    """The images; those without regions get the width of the others' features.

    Base64 of no regions does not tell their width. Such images wait until a width is known.
    """
    waiting: list[ImageRegions | Failure] = []
    width: int | None = None
    for outcome in outcomes:
        if isinstance(outcome, ImageRegions):
            width = outcome.features.shape[1] or width
        waiting.append(outcome)
        if width is None:
            continue
        for image in waiting:
            if isinstance(image, Failure) or image.features.shape[1]:
                yield image
            else:
                yield replace(image, features=np.zeros((0, width), np.float32))
        waiting.clear()
    failures = [outcome for outcome in waiting if isinstance(outcome, Failure)]
    if failures:
        raise DataError(f"all {len(failures):,} images are faulty. The first: {failures[0].reason}")
    if waiting:
        raise DataError(
            f"none of the {len(waiting):,} images has a region: the width of features is not known."
        )


def _check_not_empty(sidecars: list[Sidecar], source: Path) -> None:
    if not sidecars:
        raise DataError(f"{source} holds no images.")


def _move(partial: Path, out: Path) -> None:
    """Shards first, then sidecars: there is never a sidecar without its shard."""
    files = sorted(partial.iterdir(), key=lambda file: (file.suffix == ".json", file.name))
    for file in files:
        file.replace(out / file.name)
    partial.rmdir()


def _report(sidecars: list[Sidecar], sources: list[Source], *, is_new: bool) -> ImportReport:
    return ImportReport(
        images=sum(sidecar.counts["images"] for sidecar in sidecars),
        regions=sum(sidecar.counts["regions"] for sidecar in sidecars),
        shards=len(sidecars),
        notices=tuple(dict.fromkeys(notice for part in sources for notice in part.notices)),
        is_new=is_new,
        failures={id_: why for sidecar in sidecars for id_, why in sidecar.failures.items()},
    )
