"""Random access to the records of a folder of shards."""

import errno
import resource
import sys
import threading
import weakref
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, cast, overload

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.shards.arrays import CaptionsShard, OpenShard, open_shard
from pipeline.shards.records import ImageRegions, ParsedCaption
from pipeline.shards.schema import Kind
from pipeline.shards.sidecar import (
    KnownNames,
    Sidecar,
    check_alike,
    check_shard_file,
    find_sidecars,
    partial_folder,
    read_sidecar,
)

MAX_OPEN_SHARDS = 512
"""Memory maps that all readers of a process keep open together, or a quarter of its limit of open
files if that is less: each map takes a file descriptor, and many systems allow 1,024 or 256."""

Record = TypeVar("Record", bound=ImageRegions | ParsedCaption)

_open_order: deque[tuple[weakref.ref[Any], int]] = deque()
"""Readers and shards that are open, in the order of opening."""
_open_order_lock = threading.Lock()

_MADE_BY = {"regions": "pipeline extract-regions", "captions": "pipeline parse-captions"}


class MissingSplitError(DataError):
    """A folder has shards, but none of the split that was asked for.

    Attributes:
        splits: those that it has.
    """

    def __init__(self, message: str, splits: set[str | None]) -> None:
        super().__init__(message)
        self.splits = splits


class ShardReader(Generic[Record]):
    """The shards of one kind in a folder, as one sequence of records.

    Opening reads only the sidecars; a shard is memory-mapped when one of its records is first read.
    HDF5 is not used. The arrays of a record are read-only views of the map: copy them before they
    become tensors (`torch.from_numpy(np.array(record.features))`). A reader can be pickled and
    handed to forked or spawned workers; each makes its own maps.

    Args:
        directory: the folder of shards.
        kind: `regions` or `captions`.
        split: read only shards of this split; None for all.

    Attributes:
        sidecars: of the shards, in the order of their names.
        fingerprint: of the weights or the model that made them all.
        settings: of the stage that made them all.
        names: class names by dataset; None if there are none.

    Raises:
        DataError: there are no such shards, a shard or sidecar is missing, truncated or changed, or
            the folder mixes shards of different fingerprints or settings.

    Example:
        >>> reader = ShardReader("shards", "regions", "train")
        >>> reader[0].features.shape
        (2, 256)
    """

    @overload
    def __init__(
        self: "ShardReader[ImageRegions]",
        directory: Path | str,
        kind: Literal["regions"],
        split: str | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self: "ShardReader[ParsedCaption]",
        directory: Path | str,
        kind: Literal["captions"],
        split: str | None = None,
    ) -> None: ...

    @overload
    def __init__(self, directory: Path | str, kind: Kind, split: str | None = None) -> None: ...

    def __init__(self, directory: Path | str, kind: Kind, split: str | None = None) -> None:
        self.directory = Path(directory)
        self.kind: Kind = kind
        self.split = split
        self.sidecars = _read_sidecars(self.directory, kind, split)
        first = self.sidecars[0]
        self.fingerprint: Mapping[str, Any] = first.fingerprint
        self.settings: Mapping[str, Any] = first.settings
        self.names: Mapping[str, tuple[str, ...]] | None = first.names
        self._starts = [0, *accumulate(sidecar.num_records for sidecar in self.sidecars)]
        self._opened: dict[int, OpenShard] = {}

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, index: int) -> Record:
        shard, row = self.locate(index)
        return self._open_shard(shard).record(row)

    def __iter__(self) -> Iterator[Record]:
        for shard, sidecar in enumerate(self.sidecars):
            opened = self._open_shard(shard)
            for row in range(sidecar.num_records):
                yield opened.record(row)

    def batch(self, indices: Iterable[int]) -> list[Record]:
        """The records of these indices, in their order."""
        return [self[index] for index in indices]

    def locate(self, index: int) -> tuple[int, int]:
        """Index of the shard in `sidecars`, and row in the shard.

        Raises:
            IndexError: there is no such record.
        """
        total = self._starts[-1]
        if index < 0:
            index += total
        if not 0 <= index < total:
            raise IndexError(f"record {index} of {total} in {self.directory}")
        shard = bisect_right(self._starts, index) - 1
        return shard, index - self._starts[shard]

    def features(self, index: int) -> NDArray[Any]:
        """`[R, D]` features of one image, a read-only view: what `reader[index].features` is."""
        shard, row = self.locate(index)
        opened = self._open_shard(shard)
        return opened.arrays["features"][opened.offsets[row] : opened.offsets[row + 1]]

    def arrays(self, shard: int) -> Mapping[str, Any]:
        """All arrays of one shard, by dataset, read-only: what `docs/shards.md` lists.

        For computation over whole shards. Strings are stored as bytes and offsets.
        """
        return self._open_shard(shard).arrays

    def strings(self, shard: int) -> list[str]:
        """The table that the codes of a shard of captions (form, lemma, ...) point into."""
        return cast(CaptionsShard, self._open_shard(shard)).strings

    @cached_property
    def ids(self) -> list[str]:
        """Ids of all images or captions, in order."""
        return [id_ for shard in range(len(self.sidecars)) for id_ in self._open_shard(shard).ids]

    @cached_property
    def image_ids(self) -> list[str]:
        """Id of the image of each record: `ids` for regions, the image described for captions."""
        if self.kind == "regions":
            return self.ids
        shards = (self._open_shard(shard) for shard in range(len(self.sidecars)))
        return [id_ for shard in shards for id_ in cast(CaptionsShard, shard).image_ids]

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """`[N]` regions of each image, or tokens of each caption."""
        opened = (self._open_shard(shard) for shard in range(len(self.sidecars)))
        return np.concatenate([np.diff(np.array(shard.offsets, np.int64)) for shard in opened])

    def index(self, record_id: str) -> int:
        """Index of the image or caption of that id.

        Raises:
            DataError: there is none, or an id appears twice.
        """
        try:
            return self._index[record_id]
        except KeyError:
            raise DataError(
                f"{self.directory} has no {self.kind} of {record_id!r}"
                + (f" in split {self.split}." if self.split else ".")
            ) from None

    def captions_of(self, image_id: str) -> list[int]:
        """Indices of the captions of an image, in order; empty if it has none."""
        return self._captions_of.get(image_id, [])

    @cached_property
    def _index(self) -> dict[str, int]:
        index = {id_: i for i, id_ in enumerate(self.ids)}
        if len(index) < len(self):
            twice = next(id_ for i, id_ in enumerate(self.ids) if index[id_] != i)
            raise DataError(
                f"{twice!r} appears twice in {self.directory}. Run pipeline verify on it."
            )
        return index

    @cached_property
    def _captions_of(self) -> dict[str, list[int]]:
        captions: dict[str, list[int]] = {}
        for i, image_id in enumerate(self.image_ids):
            captions.setdefault(image_id, []).append(i)
        return captions

    def _open_shard(self, shard: int) -> OpenShard:
        """The shard, opened if it is not; then the one that was opened first may be closed."""
        opened = self._opened.get(shard)
        if opened is None:
            opened = self._opened[shard] = self._open(shard)
            with _open_order_lock:
                _open_order.append((weakref.ref(self), shard))
                while len(_open_order) > _most_open():
                    reader, oldest = _open_order.popleft()
                    if (owner := reader()) is not None:
                        owner._opened.pop(oldest, None)
        return opened

    def _open(self, shard: int) -> OpenShard:
        sidecar = self.sidecars[shard]
        try:
            return open_shard(self.directory / sidecar.file, sidecar)
        except OSError as error:
            if error.errno != errno.EMFILE:
                raise
            raise DataError(
                f"{self.directory} has {len(self.sidecars):,} shards, and no more than "
                f"{_open_files_limit():,} files may be open in a process, which are in use. Raise "
                "the limit (ulimit -n 4096), keep fewer arrays of records without copying them, or "
                "make fewer shards with a larger --shard-size."
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        made_on_demand = ("_opened", "ids", "image_ids", "lengths", "_index", "_captions_of")
        return {k: v for k, v in self.__dict__.items() if k not in made_on_demand}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._opened = {}


def _most_open() -> int:
    return max(1, min(MAX_OPEN_SHARDS, _open_files_limit() // 4))


def _open_files_limit() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def _read_sidecars(directory: Path, kind: Kind, split: str | None) -> tuple[Sidecar, ...]:
    if partial_folder(directory, kind).exists():
        raise DataError(
            f"{directory} has an unfinished import of {kind}: let it finish, or run the same "
            "pipeline import-regions again."
        )
    sidecars: list[Sidecar] = []
    splits: set[str | None] = set()
    known_names: KnownNames = {}
    for path in find_sidecars(directory, kind):
        sidecar = read_sidecar(path, known_names)
        splits.add(sidecar.split)
        if split is None or sidecar.split == split:
            check_shard_file(sidecar, path)
            sidecars.append(_alike(sidecar, sidecars[0]) if sidecars else sidecar)
    if not sidecars and splits:
        there = ", ".join(sorted(str(s) for s in splits))
        raise MissingSplitError(
            f"{directory} has no {kind} of split {split!r}, only of {there}.", splits
        )
    if not sidecars:
        raise DataError(
            f"{directory} has no shards of {kind}: expected {kind}-00000.h5 and its .json. "
            f"Make them with {_MADE_BY[kind]}."
        )
    return tuple(sidecars)


def _alike(sidecar: Sidecar, first: Sidecar) -> Sidecar:
    """The sidecar, sharing its mappings with the first one."""
    check_alike(sidecar, first)
    # 10,000 shards with 1,600 class names each would otherwise hold 16 million strings.
    return sidecar.model_copy(
        update={f: getattr(first, f) for f in ("fingerprint", "settings", "names")}
    )
