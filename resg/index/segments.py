"""Segments of an index: encoded items in NumPy files, written once and never changed.

N items, M nodes of all items, d width. A segment is a folder of `embeddings.npy` `[N, d]` and
`nodes.npy` `[M, d]`, both float16 and of unit length, `ptr.npy` `[N+1]` int64, and `items.json`,
one row for each item.
"""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from resg.errors import ResgError
from resg.models.encoded import Encoded

Kind = Literal["images", "captions"]
ARRAYS = ("embeddings", "nodes", "ptr")
ITEMS = "items.json"


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """What an index knows of an image.

    Attributes:
        id: the path of a picture relative to its folder, or the id in the shards.
        digest: SHA-256 of the picture's bytes, or what identifies the record of a shard.
        bytes: size of the picture; 0 for a record of a shard.
        mtime_ns: time of its last change; 0 for a record of a shard.
    """

    id: str
    digest: str
    bytes: int = 0
    mtime_ns: int = 0


@dataclass(frozen=True, slots=True)
class CaptionEntry:
    """What an index knows of a caption.

    Attributes:
        id: of the caption.
        digest: the text, or what identifies the record of a shard.
        text: of the caption.
        image_id: the image that it describes.
    """

    id: str
    digest: str
    text: str
    image_id: str


Entry = ImageEntry | CaptionEntry
ENTRIES: dict[Kind, type[ImageEntry] | type[CaptionEntry]] = {
    "images": ImageEntry,
    "captions": CaptionEntry,
}


@dataclass(frozen=True)
class Segment:
    """A segment on disk; its arrays are memory-mapped when they are read, and not kept open.

    Attributes:
        path: its folder.
        kind: of its items.
        count: N.
    """

    path: Path
    kind: Kind
    count: int

    @cached_property
    def entries(self) -> list[Entry]:
        """Its N items.

        Raises:
            ResgError: the file is missing or damaged.
        """
        make = ENTRIES[self.kind]
        try:
            rows = json.loads((self.path / ITEMS).read_text(encoding="utf-8"))
            entries: list[Entry] = [make(*row) for row in rows]
        except (OSError, ValueError, TypeError) as error:
            raise _damaged(self.path / ITEMS, error) from error
        if len(entries) != self.count:
            raise _damaged(self.path / ITEMS, f"{len(entries)} items, expected {self.count}")
        return entries

    def array(self, name: str) -> NDArray[Any]:
        """One of `ARRAYS`, as a read-only memory map.

        Raises:
            ResgError: the file is missing or damaged.
        """
        path = self.path / f"{name}.npy"
        try:
            found = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise _damaged(path, error) from error
        rows = self.count + 1 if name == "ptr" else self.count
        if name != "nodes" and len(found) != rows:
            raise _damaged(path, f"{len(found)} rows, expected {rows}")
        return found

    def encoded(self, rows: Sequence[int]) -> Encoded:
        """Items by row, in single precision."""
        ptr, stored = self.array("ptr"), self.array("nodes")
        spans = [(int(ptr[row]), int(ptr[row + 1])) for row in rows]
        nodes = np.concatenate([stored[start:end] for start, end in spans])
        lengths = [end - start for start, end in spans]
        return Encoded(
            torch.from_numpy(self.array("embeddings")[list(rows)].astype(np.float32)),
            torch.from_numpy(nodes.astype(np.float32)),
            torch.tensor([0, *np.cumsum(lengths)]),
        )


@dataclass(frozen=True)
class Piece:
    """Rows of a segment that are kept, each with what is known of it now."""

    segment: Segment
    rows: Sequence[int]
    entries: Sequence[Entry]

    @property
    def is_whole(self) -> bool:
        """Whether all rows of the segment are kept, in order."""
        return list(self.rows) == list(range(self.segment.count))


def write_pieces(path: Path, pieces: Sequence[Piece]) -> Segment:
    """Write a segment of the kept rows of others.

    Their arrays are linked where one segment is kept whole, and copied else.
    """
    first = pieces[0].segment
    entries = [entry for piece in pieces for entry in piece.entries]
    if len(pieces) == 1 and pieces[0].is_whole:
        path.mkdir()
        for name in ARRAYS:
            _link_or_copy(first.path / f"{name}.npy", path / f"{name}.npy")
        return _with_entries(path, first.kind, entries)
    embeddings, nodes, lengths = [], [], []
    for piece in pieces:
        ptr, stored = piece.segment.array("ptr"), piece.segment.array("nodes")
        embeddings.append(piece.segment.array("embeddings")[list(piece.rows)])
        nodes += [stored[ptr[row] : ptr[row + 1]] for row in piece.rows]
        lengths.append(np.diff(ptr)[list(piece.rows)])
    return _write(
        path, first.kind, entries, np.concatenate(embeddings), nodes, np.concatenate(lengths)
    )


def write_encoded(path: Path, kind: Kind, entries: Sequence[Entry], encoded: Encoded) -> Segment:
    """Write a segment of newly encoded items."""
    return _write(
        path,
        kind,
        entries,
        encoded.embeddings.cpu().numpy(),
        [encoded.nodes.float().cpu().numpy()],
        encoded.ptr.diff().numpy(),
    )


def _write(
    path: Path,
    kind: Kind,
    entries: Sequence[Entry],
    embeddings: NDArray[Any],
    nodes: Sequence[NDArray[Any]],
    lengths: NDArray[Any],
) -> Segment:
    path.mkdir()
    _save(path / "embeddings.npy", embeddings.astype(np.float16))
    _save(path / "nodes.npy", np.concatenate(nodes).astype(np.float16))
    _save(path / "ptr.npy", np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
    return _with_entries(path, kind, entries)


def _with_entries(path: Path, kind: Kind, entries: Sequence[Entry]) -> Segment:
    rows = [astuple(entry) for entry in entries]
    with (path / ITEMS).open("w", encoding="utf-8") as stream:
        json.dump(rows, stream, ensure_ascii=False, separators=(",", ":"))
        stream.flush()
        os.fsync(stream.fileno())
    return Segment(path, kind, len(entries))


def _save(path: Path, array: NDArray[Any]) -> None:
    with path.open("wb") as stream:
        np.save(stream, array, allow_pickle=False)
        stream.flush()
        os.fsync(stream.fileno())


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # a file system without links
        shutil.copyfile(source, target)


def _damaged(path: Path, why: object) -> ResgError:
    return ResgError(
        f"{path} is missing or damaged: {why}.\nCopy the index again, or delete it and make it "
        "anew: resg index."
    )
