"""Write one shard and its sidecar; a crash at any moment leaves a valid shard or none.

HDF5 allocates the datasets, contiguous and aligned, and their bytes are then written to the file
directly: a full disk is an ordinary OSError, and writing piece by piece needs no second copy.
"""

import errno
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

from pipeline.errors import DataError, SettingsError
from pipeline.fingerprint import as_json, file_digest
from pipeline.shards.encoding import Parts, make_encoder
from pipeline.shards.hdf5 import system_errno
from pipeline.shards.records import Failure, ImageRegions, ParsedCaption
from pipeline.shards.schema import (
    FLOAT_DTYPES,
    KINDS,
    NAMED,
    SCHEMA_VERSION,
    Kind,
    stored_datasets,
)
from pipeline.shards.sidecar import Sidecar, StoredArray, sidecar_path

ALIGNMENT = 64  # bytes: a cache line, so that a mapped row starts where a copied one would


def write_shard(
    path: Path,
    kind: Kind,
    records: Iterable[ImageRegions | ParsedCaption],
    *,
    settings: Mapping[str, Any],
    fingerprint: Mapping[str, Any],
    split: str | None,
    names: Mapping[str, Sequence[str]] | None = None,
    failures: Iterable[Failure] = (),
    dtype: str = "float16",
    notices: Iterable[str] = (),
    source: Mapping[str, Any] | None = None,
) -> Sidecar:
    """Write a shard, then its sidecar, which makes the shard valid.

    Equal arguments give equal bytes. The arrays of one shard are held in memory until they are
    written: 1,000 images of 36x2048 float16 are 147 MB. An existing shard of that path is replaced.

    Args:
        path: `regions-00000.h5` or `captions-00000.h5` in a folder that is created if needed.
        kind: `regions` or `captions`.
        records: of the shard, in this order.
        settings: of the stage that made the records, as JSON can hold them.
        fingerprint: of its weights or model; equal for all shards of a folder.
        split: train, val, test or None.
        names: class names by dataset: `{"labels": [...], "attributes": [...]}` (`schema.NAMED`).
        failures: items without a record; read after the last record, so the list may grow.
        dtype: of features and scores, float16 or float32.
        notices: sentences that a user of the shard should read; also read after the last record.
        source: the input that it is imported from, as JSON can hold it.

    Returns:
        The sidecar as it was written.

    Raises:
        DataError: a record is faulty; the message names its id.
        SettingsError: the path, the dtype or the names are invalid.
        OSError: writing failed, as on a full disk; no shard and no temporary file is left.
    """
    path = Path(path)
    _check_arguments(path, kind, dtype, names)
    encoder = make_encoder(kind, dtype, names)
    for record in records:
        encoder.add(record)
    failed = _failed(failures, encoder.ids)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    about = {
        "schema_version": SCHEMA_VERSION,
        "kind": kind,
        "split": split,
        "settings": as_json(settings),
        "fingerprint": as_json(fingerprint),
        "names": as_json(names) if names is not None else None,
        "packages": _packages(),
    }
    arrays = encoder.arrays()
    try:
        datasets = _lay_out(temporary, kind, dtype, arrays, about)
        with temporary.open("r+b") as stream:
            _fill(stream, arrays, datasets)
            stream.flush()
            os.fsync(stream.fileno())
        sidecar = Sidecar(
            **about,
            file=path.name,
            bytes=temporary.stat().st_size,
            sha256=file_digest(temporary),
            counts=encoder.counts(),
            failures=failed,
            notices=tuple(notices),
            source=as_json(source) if source is not None else None,
            datasets=datasets,
        )
        _commit(temporary, path, sidecar)
    except (OSError, RuntimeError) as error:
        raise _refusal(error, path) from error
    finally:
        temporary.unlink(missing_ok=True)
    return sidecar


def write_sidecar(sidecar: Sidecar, path: Path) -> None:
    """Write a sidecar atomically.

    Raises:
        OSError: writing failed; no temporary file is left.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(sidecar.to_json().encode())
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)  # noqa: PTH105 - the call that the protocol names
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _check_arguments(
    path: Path, kind: str, dtype: str, names: Mapping[str, Sequence[str]] | None
) -> None:
    """Check the name, dtype and class names of a shard; SettingsError if one is invalid."""
    if kind not in KINDS:
        raise SettingsError(f"a shard is one of {', '.join(KINDS)}, not {kind!r}.")
    if not (path.name.startswith(f"{kind}-") and path.suffix == ".h5"):
        raise SettingsError(f"a shard of {kind} is called {kind}-00000.h5, not {path.name}.")
    if dtype not in FLOAT_DTYPES:
        raise SettingsError(f"features are {' or '.join(FLOAT_DTYPES)}, not {dtype}.")
    unknown = sorted(set(names or ()) - set(NAMED))
    if unknown:
        raise SettingsError(f"names are given for {', '.join(NAMED)}, not for {unknown[0]!r}.")


def _failed(failures: Iterable[Failure], ids: set[str]) -> dict[str, str]:
    failed = {}
    for failure in failures:
        if failure.id in ids:
            raise DataError(f"{failure.id!r} is both a record and a failure of one shard.")
        failed[failure.id] = failure.reason
    return failed


def _packages() -> dict[str, str]:
    """Versions of the packages that write shards."""
    try:
        ours = version("resg")
    except PackageNotFoundError:  # run from the sources
        ours = "not installed"
    return {
        "resg": ours,
        "numpy": np.__version__,
        "h5py": h5py.__version__,
        "hdf5": h5py.version.hdf5_version,
    }


def _lay_out(
    path: Path, kind: Kind, dtype: str, arrays: Mapping[str, Parts], about: Mapping[str, Any]
) -> dict[str, StoredArray]:
    """Create the file with all datasets allocated but empty; returns the place of each."""
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_layout(h5py.h5d.CONTIGUOUS)
    creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    creation.set_obj_track_times(False)
    datasets = {}
    with h5py.File(
        path,
        "w",
        libver="earliest",
        alignment_threshold=1,
        alignment_interval=ALIGNMENT,
        locking=False,  # nobody else knows the temporary file, and some file systems have no locks
    ) as file:
        for key, value in about.items():
            if value is not None:
                structured = isinstance(value, dict)
                text = (
                    json.dumps(value, sort_keys=True, ensure_ascii=False) if structured else value
                )
                file.attrs[key] = text
        for name, stored in stored_datasets(kind, dtype).items():
            if name not in arrays:
                continue
            parts = arrays[name]
            shape = (sum(len(part) for part in parts), *parts[0].shape[1:])
            dataset = h5py.h5d.create(
                file.id,
                name.encode(),
                h5py.h5t.py_create(np.dtype(stored.dtype)),
                h5py.h5s.create_simple(shape),
                creation,
            )
            # An empty dataset has no offset: HDF5 gives it no room.
            datasets[name] = StoredArray(dataset.get_offset(), shape, stored.dtype)
    return datasets


def _fill(
    stream: BinaryIO, arrays: Mapping[str, Parts], datasets: Mapping[str, StoredArray]
) -> None:
    for name, stored in datasets.items():
        if stored.offset is not None:
            stream.seek(stored.offset)
            for part in arrays[name]:
                stream.write(part.data)


def _commit(temporary: Path, path: Path, sidecar: Sidecar) -> None:
    """Rename the shard, then write its sidecar; an older sidecar is removed before its shard."""
    beside = sidecar_path(path)
    if beside.exists():
        beside.unlink()
        _sync_folder(path.parent)
    os.replace(temporary, path)  # noqa: PTH105 - the call that the protocol names
    _sync_folder(path.parent)
    write_sidecar(sidecar, beside)


def _refusal(error: OSError | RuntimeError, path: Path) -> OSError:
    """The operating system's error, with the path: HDF5 hides it in a long message."""
    number = system_errno(error)
    if number is None:
        return OSError(errno.EIO, f"HDF5 could not write ({error})", str(path))
    return OSError(number, os.strerror(number), str(path))


def _sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power failure, where the file system can."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):  # shares of Windows
            raise
    finally:
        os.close(descriptor)
