"""The sidecar, a JSON file beside each shard: contents, origin and offsets of the arrays.

A shard is valid only with its sidecar, which is written last. Nothing in it depends on the clock or
the machine.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import DataError
from pipeline.fingerprint import differences, file_digest
from pipeline.shards.schema import KINDS, RECORDS, SCHEMA_VERSION, Kind

_LONGEST_DIFFERENCE = 300  # characters; class names alone can be 1,600 words
_NAMES_START, _NAMES_END = b'\n "names": {\n', b"\n },"

KnownNames = dict[bytes, Mapping[str, tuple[str, ...]] | None]
"""Class names by the text that they were parsed from."""


class StoredArray(NamedTuple):
    """The place of an array in its shard.

    Attributes:
        offset: its first byte; None where it is empty.
        shape: of the array.
        dtype: numpy's name of the type, with the byte order.
    """

    offset: int | None
    shape: tuple[int, ...]
    dtype: str


class Sidecar(BaseModel):
    """The description of a shard.

    Attributes:
        schema_version: `pipeline.shards.schema.SCHEMA_VERSION` when it was written.
        file: name of the shard, in the folder of the sidecar.
        kind: `regions` or `captions`.
        split: train, val, test or None.
        bytes: size of the shard.
        sha256: of the shard's bytes.
        counts: images, regions and relations; or captions, strings, tokens, objects and triples.
        fingerprint: of the weights or the model that made it.
        settings: of the stage that made it.
        packages: versions of the packages that wrote it.
        names: class names, by the dataset that holds their indices (`schema.NAMED`).
        failures: the reason for each image or caption that is not in the shard, by id.
        notices: sentences that a user of the shard should read.
        datasets: offset, shape and dtype of each array, by name.
        source: the input of an import that it holds, and the options for it; None for a stage. A
            folder may hold several inputs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int
    file: str
    kind: Kind
    split: str | None
    bytes: int
    sha256: str
    counts: Mapping[str, int]
    fingerprint: Mapping[str, Any]
    settings: Mapping[str, Any]
    packages: Mapping[str, str]
    names: Mapping[str, tuple[str, ...]] | None
    failures: Mapping[str, str]
    notices: tuple[str, ...]
    datasets: Mapping[str, StoredArray]
    source: Mapping[str, Any] | None = None

    @property
    def num_records(self) -> int:
        """Images or captions in the shard."""
        return self.counts[RECORDS[self.kind]]

    def to_json(self) -> str:
        """The sidecar as JSON text; equal sidecars give equal text."""
        content = self.model_dump(exclude={"source"} if self.source is None else None)
        return json.dumps(content, sort_keys=True, ensure_ascii=False, indent=1) + "\n"


def shard_path(directory: Path, kind: Kind, number: int) -> Path:
    """Path of the shard of that number: `regions-00000.h5`."""
    return directory / f"{kind}-{number:05d}.h5"


def shard_number(shard: Path) -> int:
    """The number in the name of a shard: what `shard_path` made it of."""
    return int(shard.stem.rpartition("-")[2])


def sidecar_path(shard: Path) -> Path:
    """Path of a shard's sidecar: `regions-00000.json`."""
    return shard.with_suffix(".json")


def partial_folder(directory: Path, kind: Kind) -> Path:
    """Folder for the shards of an import until all are finished.

    While it exists, the import is incomplete: readers refuse the shards of that kind.
    """
    return directory / f"{kind}.partial"


def find_sidecars(directory: Path, kind: Kind | None = None) -> list[Path]:
    """Paths of the sidecars in a folder, sorted by name.

    Raises:
        DataError: there is no such folder.
    """
    starts = tuple(f"{k}-" for k in ((kind,) if kind else KINDS))
    try:
        names = os.listdir(directory)  # noqa: PTH208 - iterdir makes a Path of every file
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(
            f"expected a folder of shards, but {directory} is not a folder. Check its spelling."
        ) from error
    found = sorted(n for n in names if n.startswith(starts) and n.endswith(".json"))
    return [directory / name for name in found]


def read_sidecar(path: Path, known_names: KnownNames | None = None) -> Sidecar:
    """Read and check a sidecar.

    Args:
        path: of the sidecar.
        known_names: class names parsed by earlier calls. They are most of a sidecar and equal in
            all sidecars of a run, so the same text is parsed once.

    Raises:
        DataError: it is missing, damaged, of another version, or describes another shard.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(
            f"{path} is missing: a shard without its sidecar is not valid. "
            "Make the shard again, by resuming its run."
        ) from error
    try:
        sidecar = _parse(text, known_names)
    except ValidationError as error:
        raise _unreadable(path, text, error) from error
    if sidecar.schema_version != SCHEMA_VERSION:
        raise _other_version(path, sidecar.schema_version)
    if sidecar.file != path.with_suffix(".h5").name:
        raise DataError(
            f"{path} describes {sidecar.file}, not {path.with_suffix('.h5').name}: "
            "sidecars were swapped or renamed. Restore the names of both files."
        )
    if RECORDS[sidecar.kind] not in sidecar.counts:
        raise DataError(
            f"{path} counts {sorted(sidecar.counts)}, but not {RECORDS[sidecar.kind]}. "
            "Make the shard again."
        )
    for name, stored in sidecar.datasets.items():
        if stored.offset is None and 0 not in stored.shape:
            raise DataError(
                f"{path} does not say where {name} begin in {sidecar.file}: expected contiguous, "
                "uncompressed datasets. Write the shard with pipeline.shards.writer.write_shard."
            )
    return sidecar


def check_shard_file(sidecar: Sidecar, path: Path) -> None:
    """Check that the shard of a sidecar exists and is unchanged, normally without reading it.

    A shard is written before its sidecar. If it is newer (a copy with other times, or a changed
    file), its hash is compared.

    Raises:
        DataError: the shard is missing, or its size or hash differs.
    """
    shard = path.with_suffix(".h5")
    try:
        found = shard.stat()
    except FileNotFoundError as error:
        raise DataError(
            f"{path} has no shard beside it: expected {shard.name}. Copy it there, or make it "
            "again."
        ) from error
    if found.st_size != sidecar.bytes:
        raise DataError(
            f"{shard} has {found.st_size:,} bytes, its sidecar says {sidecar.bytes:,}: it was "
            "cut short or changed. Copy it again, or delete it and its sidecar and resume the run."
        )
    if found.st_mtime_ns > path.stat().st_mtime_ns and file_digest(shard) != sidecar.sha256:
        raise DataError(
            f"{shard} was changed after its sidecar was written: its SHA-256 is another. "
            "Copy it again, or delete it and its sidecar and resume the run."
        )


def check_alike(sidecar: Sidecar, first: Sidecar) -> None:
    """Check that two shards of a kind may be read as one sequence.

    Raises:
        DataError: their fingerprints, settings or names differ.
    """
    for field in ("fingerprint", "settings", "names"):
        ours, theirs = getattr(first, field), getattr(sidecar, field)
        if ours != theirs:
            what = differences({field: ours}, {field: theirs})[0]
            if len(what) > _LONGEST_DIFFERENCE:
                what = f"their {field} differ"
            raise DataError(
                f"the folder mixes shards that were made differently: {what} "
                f"(here {first.file}, there {sidecar.file}).\n"
                "Keep the shards of each run in a folder of their own."
            )


def _parse(text: bytes, known_names: KnownNames | None) -> Sidecar:
    """Parse a sidecar; reuse known names if they are written as `to_json` writes them."""
    start = text.find(_NAMES_START)  # in a string a line's end is escaped, so this is the key
    end = text.find(_NAMES_END, start)
    if known_names is None or start < 0 or end < 0:
        return Sidecar.model_validate_json(text)
    names_text = text[start:end]
    if names_text not in known_names:
        sidecar = Sidecar.model_validate_json(text)
        known_names[names_text] = sidecar.names
        return sidecar
    without = Sidecar.model_validate_json(b'%s\n "names": null%s' % (text[:start], text[end + 3 :]))
    return without.model_copy(update={"names": known_names[names_text]})


def _unreadable(path: Path, text: bytes, error: ValidationError) -> DataError:
    try:
        version = json.loads(text).get("schema_version")
    except (ValueError, AttributeError):
        version = None
    if isinstance(version, int) and version != SCHEMA_VERSION:
        return _other_version(path, version)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return DataError(
        f"{path} is not a sidecar of a shard: {where + ': ' if where else ''}{first['msg']}. "
        "Delete it with its shard, and resume the run that made them."
    )


def _other_version(path: Path, version: int) -> DataError:
    return DataError(
        f"{path} has schema version {version}, this program reads {SCHEMA_VERSION}. "
        "Use the release that wrote the shards, or make them again."
    )
