"""HDF5 files that another program wrote: look inside without risk, and make shards of them.

A damaged file can crash the HDF5 library and the process that opened it, so one whose bytes we did
not write is opened in a child process.
"""

import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pipeline.errors import DataError
from pipeline.fingerprint import as_json, file_digest
from pipeline.shards.schema import SCHEMA_VERSION, Kind
from pipeline.shards.sidecar import Sidecar, StoredArray, sidecar_path
from pipeline.shards.writer import check_arguments, packages, write_sidecar

_Result = TypeVar("_Result")


class Layout(NamedTuple):
    """What HDF5 says of a file: the schema version in its attributes, and its datasets."""

    version: int | None
    datasets: dict[str, StoredArray]


def read_layout(path: Path) -> Layout:
    """What HDF5 says of a file, in this process.

    Raises:
        DataError: HDF5 cannot open it.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            version = file.attrs.get("schema_version")
            datasets = {
                name: StoredArray(item.id.get_offset(), item.shape, item.dtype.str)
                for name, item in file.items()
                if isinstance(item, h5py.Dataset)
            }
    except (OSError, RuntimeError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path} cannot be opened as HDF5 ({reason}). Make it again.") from error
    return Layout(None if version is None else int(version), datasets)


def in_child(function: Callable[..., _Result], path: Path, *arguments: Any) -> _Result:
    """The function's result, from a process of its own.

    It is a plain interpreter rather than one of `multiprocessing`, which would run the main script
    of a user again.

    Args:
        function: importable, takes `path` and then the arguments.
        path: the file that may be damaged.
        *arguments: what else the function takes.

    Raises:
        DataError: that process died.
        Exception: what the function raised.
    """
    code = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import answer; answer()"
    call = pickle.dumps((function, path, arguments))
    done = subprocess.run([sys.executable, "-c", code], input=call, stdout=subprocess.PIPE)
    if done.returncode != 0:
        raise DataError(
            f"{path} crashed the HDF5 library (exit status {done.returncode}). Make it again."
        )
    # from our own child alone; no file is ever unpickled
    result, error = pickle.loads(done.stdout)
    if error is not None:
        raise error
    return result


def answer() -> None:
    """The child's side of `in_child`: a pickled call comes in, its result or error goes out."""
    function, path, arguments = pickle.load(sys.stdin.buffer)
    try:
        reply = (function(path, *arguments), None)
    except (DataError, OSError, RuntimeError, KeyError) as error:  # ours, and h5py's
        reply = (None, error)
    sys.stdout.buffer.write(pickle.dumps(reply))


def adopt_shard(
    path: Path,
    kind: Kind,
    *,
    settings: Mapping[str, Any],
    fingerprint: Mapping[str, Any],
    split: str | None,
    names: Mapping[str, Sequence[str]] | None = None,
) -> Sidecar:
    """Make a shard of an HDF5 file from elsewhere that has our datasets, by writing its sidecar.

    Contiguous datasets are memory-mapped from then on; chunked or compressed ones are read through
    h5py. `pipeline verify` looks at the content.

    Args:
        path: `regions-00000.h5` or `captions-00000.h5`.
        kind: `regions` or `captions`.
        settings: what made it, as JSON can hold them.
        fingerprint: of what made it; equal for all shards of a folder.
        split: train, val, test or None.
        names: class names by dataset (`schema.NAMED`).

    Raises:
        DataError: HDF5 cannot open it, or its datasets are not those of the schema.
        SettingsError: the name or the kind is not what is expected.
    """
    from pipeline.shards.checks import check_schema  # which looks at foreign files, too

    path = Path(path)
    check_arguments(path, kind, "float16", names)
    layout = in_child(read_layout, path)
    sidecar = Sidecar(
        schema_version=layout.version if layout.version is not None else SCHEMA_VERSION,
        file=path.name,
        kind=kind,
        split=split,
        bytes=path.stat().st_size,
        sha256=file_digest(path),
        counts=_counts(kind, layout.datasets),
        fingerprint=as_json(fingerprint),
        settings=as_json(settings),
        packages=packages(),
        names=as_json(names) if names is not None else None,
        failures={},
        notices=(),
        datasets=layout.datasets,
    )
    faults = list(check_schema(sidecar))
    if faults:
        raise DataError(f"{path} is no shard of {kind}: {faults[0].message}")
    write_sidecar(sidecar, sidecar_path(path))
    return sidecar


_COUNTED = {
    "regions": {"images": "image_ids_offsets", "regions": "features", "relations": "relations"},
    "captions": {
        "captions": "caption_ids_offsets",
        "strings": "strings_offsets",
        "tokens": "head",
        "objects": "objects",
        "triples": "triples",
    },
}


def _counts(kind: Kind, datasets: Mapping[str, StoredArray]) -> dict[str, int]:
    counts = {}
    for count, name in _COUNTED[kind].items():
        shape = datasets[name].shape if name in datasets else ()
        rows = shape[0] if shape else 0
        counts[count] = max(rows - 1, 0) if name.endswith("_offsets") else rows
    return counts
