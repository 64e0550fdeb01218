"""Caption files that people write themselves: tables with a header, JSON records; which is it?"""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.errors import DataError
from pipeline.text_files import lines_of

_FILE_NAMES = {"file", "filename", "filepath", "path", "img", "imgid", "imgname"}
IMAGE_NAMES = frozenset(
    _FILE_NAMES | {f"image{name}" for name in ("", "id", "name", "file", "filename", "path")}
)
CAPTION_NAMES = frozenset(
    {"caption", "captions", "text", "sentence", "sentences", "comment", "description", "raw"}
)
SPLIT_NAMES = frozenset({"split", "subset", "partition"})
"""Names of columns and keys, in lower case, without `_`, `-` and spaces."""

DELIMITERS = "\t,;|"


class CaptionRow(NamedTuple):
    """A caption with the name of its image, and its split if the file has one."""

    image: str
    caption: str
    split: str | None


def recognise(text: str, file: Path) -> str:
    """The format of a caption file: one of `caption_files.CaptionFormat`.

    Raises:
        DataError: it is JSON of no known form.
    """
    if not text.lstrip().startswith(("{", "[")):
        return "table" if _header(text) else "token-tsv"
    try:
        content = json.loads(text)
    except json.JSONDecodeError:
        return "json-records"  # one per line
    if isinstance(content, dict) and "images" in content:
        return "coco-json" if "annotations" in content else "karpathy-json"
    if isinstance(content, list | dict):
        return "json-records"
    raise DataError(f"{file} is JSON without captions: expected objects of images and captions.")


def table_rows(text: str, file: Path) -> Iterator[CaptionRow]:
    """The rows of a CSV or TSV file whose header names an image and a caption column.

    Raises:
        DataError: there is no such header, or a row has other columns.
    """
    header = _header(text)
    if header is None:
        raise DataError(
            f"{file}: expected a header with an image and a caption column, such as "
            f"`image,caption`, got {text[:60]!r}."
        )
    delimiter, names = header
    image, caption, split = (_place(names, known) for known in _KNOWN)
    assert image is not None
    assert caption is not None
    for number, values in _cells(text, delimiter, file):
        if len(values) != len(names):
            raise DataError(
                f"{file}, line {number}: expected {len(names)} columns ({', '.join(names)}), got "
                f"{len(values)}. Correct the line, or put quotes around a caption with commas."
            )
        if not values[image].strip():
            raise DataError(f"{file}, line {number}: the column {names[image]} is empty.")
        part = None if split is None else values[split].strip() or None
        yield CaptionRow(values[image].strip(), values[caption].strip(), part)


def record_rows(text: str, file: Path) -> Iterator[CaptionRow]:
    """The captions of JSON objects of an image and its caption or captions.

    They stand one per line, or in a list; or one object has a list of captions for each image.

    Raises:
        DataError: an object has no image or no caption, or a line is no JSON; it is named.
    """
    for where, record in _records(text, file):
        keys = {_plain(key): key for key in record} if isinstance(record, Mapping) else {}
        image, captions, split = (
            next((record[keys[name]] for name in sorted(known) if name in keys), None)
            for known in _KNOWN
        )
        captions = [captions] if isinstance(captions, str) else captions
        is_named = isinstance(image, str | int) and not isinstance(image, bool)
        if not is_named or not isinstance(captions, list) or not all(map(_is_text, captions)):
            raise DataError(
                f'{where}: expected {{"image": "a.jpg", "caption": "..."}}, or a list of captions, '
                f"got {str(record)[:60]!r}."
            )
        for caption in captions:
            yield CaptionRow(str(image), caption, None if split is None else str(split))


_KNOWN = (IMAGE_NAMES, CAPTION_NAMES, SPLIT_NAMES)


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).lower()


def _place(names: Sequence[str], known: frozenset[str]) -> int | None:
    return next((place for place, name in enumerate(names) if _plain(name) in known), None)


def _header(text: str) -> tuple[str, list[str]] | None:
    """Delimiter and names of the columns, if the first line names an image and a caption."""
    first = text.lstrip("\n\r").partition("\n")[0]
    for delimiter in DELIMITERS:
        names = [name.strip().strip('"') for name in first.split(delimiter)]
        if None not in (_place(names, IMAGE_NAMES), _place(names, CAPTION_NAMES)):
            return delimiter, names
    return None


def _cells(text: str, delimiter: str, file: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each row after the header; empty lines are passed over."""
    if delimiter in ",;":
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        try:
            rows = [(reader.line_num, row) for row in reader if any(row)]
        except csv.Error as error:
            raise DataError(
                f"{file}, line {reader.line_num}: {error}. Correct the line."
            ) from error
    else:  # a quote in a caption is a quote, as in `file#k<TAB>caption`
        lines = [(n, line) for n, line in enumerate(lines_of(text), start=1) if line.strip()]
        rows = [(n, [_unquoted(cell) for cell in line.split(delimiter)]) for n, line in lines]
    yield from rows[1:]


def _unquoted(cell: str) -> str:
    """A cell without the quotes that a CSV writer puts around one that holds quotes."""
    inside = cell[1:-1].replace('""', "")
    if len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in inside and '""' in cell[1:-1]:
        return cell[1:-1].replace('""', '"')
    return cell


def _records(text: str, file: Path) -> Iterator[tuple[str, Any]]:
    """Each object and its place."""
    try:
        content = json.loads(text)
    except json.JSONDecodeError:
        for number, line in enumerate(lines_of(text), start=1):
            if line.strip():
                yield f"{file}, line {number}", _parsed(line, f"{file}, line {number}")
        return
    if isinstance(content, dict) and _KNOWN[0].isdisjoint(map(_plain, content)):
        content = [{"image": image, "captions": captions} for image, captions in content.items()]
    for number, record in enumerate(content if isinstance(content, list) else [content], start=1):
        yield f"{file}, object {number}", record


def _parsed(line: str, where: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: expected a JSON object on each line, {error}.") from error


def _is_text(caption: Any) -> bool:
    return isinstance(caption, str)
