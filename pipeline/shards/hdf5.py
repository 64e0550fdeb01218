"""What the HDF5 library says of a shard: its datasets, and where each lies in the file.

Only `pipeline verify --full` asks; everything else reads shards through a memory map.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import DataError
from pipeline.shards.sidecar import StoredArray


class Layout(NamedTuple):
    """The schema version in a file's attributes, None where it has none, and its datasets."""

    version: int | None
    datasets: dict[str, StoredArray]


def read_layout(path: Path) -> Layout:
    """Read a file's layout in this process: only for a file whose bytes are those that we wrote.

    Raises:
        DataError: HDF5 cannot open it.
    """
    import h5py

    try:
        with h5py.File(path, "r", locking=False) as file:
            version = file.attrs.get("schema_version")
            datasets = {
                name: StoredArray(item.id.get_offset(), item.shape, item.dtype.str)
                for name, item in file.items()
                if isinstance(item, h5py.Dataset)
            }
    except (OSError, RuntimeError, KeyError) as error:
        raise DataError(_refusal(path, error)) from error
    return Layout(None if version is None else int(version), datasets)


def system_errno(error: Exception) -> int | None:
    """The operating system's error number, which HDF5 may hide in a long message; None if none."""
    hidden = re.search(r"errno = (\d+)", str(error))
    return int(hidden[1]) if hidden else getattr(error, "errno", None)


def _refusal(path: Path, error: Exception) -> str:
    """Why HDF5 did not open a file: the system refused it, or its structure is damaged."""
    number = system_errno(error)
    if number:
        return (
            f"{path} could not be read ({os.strerror(number)}). The shard may be whole: check the "
            "file system and its permissions."
        )
    reason = str(error).splitlines()[0]
    return f"{path} cannot be opened as HDF5 ({reason}). Make it again."


def read_damaged_layout(path: Path) -> Layout:
    """`read_layout` in a child process, as a damaged file can crash the HDF5 library.

    The child is a plain interpreter: `multiprocessing` would run the caller's main script again.

    Raises:
        DataError: HDF5 cannot open the file, or the child process died.
    """
    code = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import print_layout as p; p()"
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, stdout=subprocess.PIPE)
    if done.returncode != 0:
        raise DataError(
            f"{path} crashed the HDF5 library (exit status {done.returncode}). Make it again."
        )
    reply = json.loads(done.stdout)
    if "error" in reply:
        raise DataError(reply["error"])
    datasets = {
        name: StoredArray(offset, tuple(shape), dtype)
        for name, (offset, shape, dtype) in reply["datasets"].items()
    }
    return Layout(reply["version"], datasets)


def print_layout() -> None:
    """The child's side of `read_damaged_layout`: a path in `sys.argv`, JSON on standard output."""
    try:
        reply = read_layout(Path(sys.argv[1]))._asdict()
    except DataError as error:
        reply = {"error": str(error)}
    print(json.dumps(reply))
