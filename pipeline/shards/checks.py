"""Check one shard: its sidecar, its bytes, its HDF5 structure, its schema and its content."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.errors import DataError
from pipeline.fingerprint import differences, file_digest
from pipeline.shards.arrays import open_arrays
from pipeline.shards.content import Fault, check_content
from pipeline.shards.hdf5 import read_damaged_layout, read_layout
from pipeline.shards.schema import FLOAT_DTYPES, StoredDataset, stored_datasets
from pipeline.shards.sidecar import Sidecar, StoredArray, check_shard_file, read_sidecar


class CheckedShard(NamedTuple):
    """The result of checking one shard.

    Attributes:
        file: name of the shard.
        sidecar: None if it cannot be read.
        faults: the problems found.
        ids: of the records, if they are readable.
        image_ids: of the images of the regions, or that the captions describe.
    """

    file: str
    sidecar: Sidecar | None
    faults: list[Fault]
    ids: list[str]
    image_ids: list[str]


def check_shard(path: Path, *, full: bool = False) -> CheckedShard:
    """Check the shard of one sidecar.

    Args:
        path: of the sidecar.
        full: also compare the SHA-256, and the HDF5 structure with the sidecar.
    """
    shard = path.with_suffix(".h5")
    try:
        sidecar = read_sidecar(path)
    except DataError as error:
        return CheckedShard(shard.name, None, [Fault("sidecar", str(error))], [], [])
    try:
        check_shard_file(sidecar, path)
    except DataError as error:
        return CheckedShard(shard.name, sidecar, [Fault("file", str(error))], [], [])
    faults = _check_bytes(shard, sidecar) if full else []
    schema = list(check_schema(sidecar))
    if schema:
        return CheckedShard(shard.name, sidecar, faults + schema, [], [])
    content = check_content(sidecar, open_arrays(shard, sidecar))
    return CheckedShard(
        shard.name, sidecar, faults + content.faults, content.ids, content.image_ids
    )


def _check_bytes(shard: Path, sidecar: Sidecar) -> list[Fault]:
    """Compare the hash, and the HDF5 structure: in this process only if the hash is right."""
    is_ours = file_digest(shard) == sidecar.sha256
    faults = []
    if not is_ours:
        text = "its SHA-256 is not the sidecar's: bytes were changed. Copy it again."
        faults.append(Fault("hash", text))
    try:
        layout = read_layout(shard) if is_ours else read_damaged_layout(shard)
    except DataError as error:
        return [*faults, Fault("hdf5", str(error))]
    if layout.version != sidecar.schema_version:
        text = f"its schema version is {layout.version}, its sidecar's {sidecar.schema_version}."
        faults.append(Fault("hdf5", text))
    for line in differences(layout.datasets, sidecar.datasets):
        faults.append(Fault("hdf5", f"it and its sidecar disagree: {line}."))
    return faults


def check_schema(sidecar: Sidecar) -> Iterator[Fault]:
    """Compare names, types and shapes of the sidecar's datasets with the schema."""
    floats = sidecar.datasets.get("features")
    dtype = np.dtype(floats.dtype).name if floats else FLOAT_DTYPES[0]
    expected = stored_datasets(sidecar.kind, dtype if dtype in FLOAT_DTYPES else FLOAT_DTYPES[0])
    for name in sorted(set(sidecar.datasets) - set(expected)):
        yield Fault("schema", f"dataset {name} is none of the schema's.")
    for name, stored in expected.items():
        if name in sidecar.datasets:
            yield from _check_dataset(name, sidecar.datasets[name], stored, sidecar)
        elif not stored.optional:
            yield Fault("schema", f"dataset {name} is missing.")
    if ("relations" in sidecar.datasets) != ("relation_offsets" in sidecar.datasets):
        yield Fault("schema", "relations and relation_offsets go together, but one is missing.")


def _check_dataset(
    name: str, found: StoredArray, stored: StoredDataset, sidecar: Sidecar
) -> Iterator[Fault]:
    if found.dtype != stored.dtype:
        yield Fault("schema", f"{name} are {found.dtype}, expected {stored.dtype}.")
        return
    axes = 1 if stored.columns == 0 else 2
    if len(found.shape) != axes or (
        isinstance(stored.columns, int) and stored.columns and found.shape[1] != stored.columns
    ):
        yield Fault("schema", f"{name} have shape {list(found.shape)}, expected {axes} axes of it.")
        return
    if not stored.rows.endswith("_bytes"):
        rows = sidecar.counts.get(stored.rows)
        if rows is None:
            yield Fault("schema", f"the sidecar does not count {stored.rows}.")
        elif found.shape[0] != rows + stored.extra:
            yield Fault(
                "schema", f"{name} have {found.shape[0]} rows, expected {rows + stored.extra}."
            )
    size = int(np.prod(found.shape)) * np.dtype(found.dtype).itemsize
    if found.offset is not None and not 0 <= found.offset <= sidecar.bytes - size:
        yield Fault("schema", f"{name} would end after the end of the file.")
