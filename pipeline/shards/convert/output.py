"""Write files and folders under a temporary name, and rename them when complete."""

import gzip
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from pipeline.errors import DataError


@contextmanager
def new_file(out: Path, *, overwrite: bool = False) -> Iterator[IO[bytes]]:
    """A binary file that gets its name when the block succeeds; gzip if the name ends in `.gz`.

    Its folder is made. With `overwrite` it replaces a file that exists.

    Raises:
        DataError: the file exists.
    """
    if not overwrite:
        refuse_existing(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(out.name + ".tmp")
    try:
        with partial.open("wb") as raw:
            if out.suffix == ".gz":
                # No name and no time in the header: the same shards give the same bytes.
                with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed:
                    yield cast(IO[bytes], packed)
            else:
                yield raw
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to fill, `<out>.partial`, renamed to `out` when the block succeeds.

    What an interrupted run left in `<out>.partial` is removed first.
    """
    partial = out.with_name(out.name + ".partial")
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    try:
        yield partial
        partial.replace(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def refuse_existing(out: Path) -> None:
    """Refuse an output that exists already.

    Raises:
        DataError: it exists.
    """
    if out.exists():
        raise DataError(f"{out} exists already: choose another --out, or remove it.")
