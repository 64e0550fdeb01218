r"""Tab-separated rows with base64 arrays, the common part of the BUTD and LXMERT formats.

A file is read row by row, gzip or not, and a row without an end is refused: memory is bounded by
the longest row, whatever the file's size. Fields are what Python's csv module wrote with a tab as
delimiter and \r\n as line end; only an id can need its quotes. Two habits of other writers are
accepted: a header, and `b'...'` around base64.
"""

import base64
import binascii
import codecs
import csv
import gzip
import io
import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.shards.convert.row_checks import RowChecks
from pipeline.shards.convert.source import input_files
from pipeline.shards.records import Failure, ImageRegions

MAX_ROW_BYTES = 1 << 28
"""Longest row accepted; a usual one (36 regions of 2,048 float32) has 0.4 MB."""

BUFFER_BYTES = 1 << 20
"""Buffer size: rows of 0.4 MB take three times as long with the default of 8 KB."""

GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class Row:
    """One row of a file.

    Attributes:
        where: the file and the row's number, counted from 1, as a user should read it.
        line: its bytes, without the line end.
        columns: names of the columns, in order.
        has_end: whether a line end follows it; the last row of a file may lack it.
    """

    where: str
    line: bytes
    columns: Sequence[str]
    has_end: bool = True

    @cached_property
    def fields(self) -> Mapping[str, bytes]:
        """The text of each column by its name.

        Raises:
            DataError: there are other columns.
        """
        return _fields(self.line, self.columns, self.where)

    @property
    def image_id(self) -> str:
        """The first column if it can be read, else the place of the row."""
        try:
            return self.text(self.columns[0]) or self.where
        except DataError:
            return self.where

    def text(self, field: str) -> str:
        """The field as text.

        Raises:
            DataError: it is not UTF-8.
        """
        try:
            return self.fields[field].decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.refuse(field, "expected UTF-8 text") from error

    def count(self, field: str) -> int:
        """The field as a number that is not negative.

        Raises:
            DataError: it is none.
        """
        text = self.fields[field]
        if not text.isdigit():
            shown = text[:40].decode("utf-8", "replace")
            raise self.refuse(field, f"expected an integer, found {shown!r}")
        return int(text)

    def array(self, field: str, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """The array that the field holds in base64.

        Args:
            field: name of the column.
            dtype: numpy's name of the stored type, with its byte order.
            shape: the expected shape; a last axis of -1 is whatever the bytes give.

        Raises:
            DataError: the field is not base64, or its bytes do not fill that shape.
        """
        try:
            data = binascii.a2b_base64(_without_literal(self.fields[field]), strict_mode=True)
        except binascii.Error as error:
            raise self.refuse(field, f"expected base64 ({error})") from error
        unit = np.dtype(dtype).itemsize * math.prod(n for n in shape if n >= 0)
        if shape[-1] == -1:
            shape = (*shape[:-1], len(data) // unit if unit else 0)
        if len(data) != np.dtype(dtype).itemsize * math.prod(shape):
            expected = " x ".join(str(n) for n in shape)
            raise self.refuse(
                field,
                f"expected {expected} values of {np.dtype(dtype).name}, "
                f"as num_boxes says, found {len(data):,} bytes",
            )
        return np.frombuffer(data, dtype).reshape(shape)

    def refuse(self, field: str, message: str) -> DataError:
        """The error for a faulty field."""
        return DataError(f"{self.where}, field {field}: {message}.\nMend or remove the row.")


def tsv_files(source: Path) -> list[Path]:
    """The file itself, or the TSV files of a folder, `x.tsv.0` and `x.tsv.gz` included.

    Raises:
        DataError: there is none.
    """
    if not source.exists():
        raise DataError(f"{source} does not exist: expected a TSV file, or a folder of them.")
    if not source.is_dir():
        return [source]
    files = [path for path in input_files(source, "*") if ".tsv" in path.suffixes]
    if not files:
        raise DataError(f"no *.tsv, *.tsv.gz or *.tsv.0 in {source}: name the file itself.")
    return files


def read_images(
    files: Sequence[Path],
    columns: Sequence[str],
    record: Callable[[Row], ImageRegions],
    check: RowChecks,
) -> Iterator[ImageRegions | Failure]:
    """The image of each row of the files, or the failure of a faulty row that is skipped.

    Raises:
        DataError: a row is faulty and such ones are not skipped; or a file ends within a row, as
            an incomplete download does, and what follows is lost.
    """
    for path in files:
        for row in read_rows(path, columns):
            outcome = check.outcome(partial(record, row), row.image_id, row.where)
            if isinstance(outcome, Failure) and not row.has_end:
                raise DataError(
                    f"{row.where}: the file ends within this row. Download it again.\n"
                    f"{outcome.reason.splitlines()[0]}"
                )
            yield outcome


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Each row of a file; a header, which pandas would write, is passed over.

    Args:
        path: the file, gzip or not.
        columns: names of the columns, in order.

    Raises:
        DataError: a row does not end, or the gzip file is cut or damaged.
    """
    number, header = 0, [column.encode() for column in columns]
    try:
        with open_input(path) as stream:
            while line := stream.readline(MAX_ROW_BYTES):
                number += 1
                where = f"{path}, row {number}"
                if len(line) == MAX_ROW_BYTES and not line.endswith(b"\n"):
                    raise DataError(
                        f"{where}: no line end in {MAX_ROW_BYTES:,} bytes; "
                        f"expected {len(columns)} columns between tabs. Is this such a file?"
                    )
                has_end = line.endswith(b"\n")
                line = line.removeprefix(codecs.BOM_UTF8).rstrip(b"\r\n")
                if line and not (number == 1 and line.split(b"\t") == header):
                    yield Row(where, line, columns, has_end)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{path}: the gzip data ends or breaks after row {number} ({error}).\n"
            "Download the file again."
        ) from error
    if number == 0:
        raise DataError(f"{path} is empty: expected rows of {len(columns)} columns.")


def _without_literal(text: bytes) -> bytes:
    """Base64 without the `b''` that Python 3 writes around bytes that were not decoded."""
    is_literal = text[:2] in (b"b'", b'b"') and text[-1:] == text[1:2]
    return text[2:-1] if is_literal else text


def _fields(line: bytes, columns: Sequence[str], where: str) -> dict[str, bytes]:
    values = line.split(b"\t")
    if b'"' in line:
        values = _unquoted(line, where)
    if len(values) != len(columns):
        raise DataError(
            f"{where}: expected {len(columns)} columns ({', '.join(columns)}), "
            f"found {len(values)}.\nDoes this file have another format, or is it truncated?"
        )
    return dict(zip(columns, values, strict=True))


def _unquoted(line: bytes, where: str) -> list[bytes]:
    csv.field_size_limit(max(csv.field_size_limit(), MAX_ROW_BYTES))
    try:
        values = next(csv.reader([line.decode("utf-8")], delimiter="\t", strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{where}: the quotes do not match ({error}). Fix the row.") from error
    return [value.encode("utf-8") for value in values]


def open_input(path: Path) -> IO[bytes]:
    """The file's bytes, decompressed if they are gzip."""
    with path.open("rb") as stream:
        is_gzip = stream.read(2) == GZIP_MAGIC
    if is_gzip:
        return cast(IO[bytes], io.BufferedReader(gzip.GzipFile(path), BUFFER_BYTES))
    return path.open("rb", BUFFER_BYTES)


def encode(array: NDArray[Any] | None, dtype: str) -> bytes:
    """An array as base64 of its values in `dtype`."""
    assert array is not None  # an export checks first that each image has what the format needs
    return base64.b64encode(np.ascontiguousarray(array, dtype=dtype).tobytes())


def row_bytes(values: Sequence[str | int | bytes]) -> bytes:
    """A row as Python's csv module writes it."""
    encoded = [v if isinstance(v, bytes) else _quoted(str(v)).encode("utf-8") for v in values]
    return b"\t".join(encoded) + b"\r\n"


def _quoted(text: str) -> str:
    line = io.StringIO(newline="")
    csv.writer(line, delimiter="\t", lineterminator="").writerow([text])
    return line.getvalue()
