"""Open one shard: its arrays, and the records in their rows."""

import mmap
import os
from collections.abc import Mapping
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.shards.records import CaptionSpan, CaptionTriple, ImageRegions, ParsedCaption
from pipeline.shards.sidecar import Sidecar, StoredArray


def open_arrays(path: Path, sidecar: Sidecar) -> dict[str, Any]:
    """The arrays of a shard, read-only.

    They are views of one memory map, without HDF5.

    Raises:
        DataError: the file does not have the size that its sidecar gives.
        OSError: it cannot be opened.
    """
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        if size != sidecar.bytes:
            raise DataError(
                f"{path} has {size:,} bytes, its sidecar says {sidecar.bytes:,}: it was changed "
                "while in use."
            )
        mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    return {name: _view(mapped, stored) for name, stored in sidecar.datasets.items()}


def _view(mapped: mmap.mmap, stored: StoredArray) -> NDArray[Any]:
    """The array in the map; an empty one has no place in the file, so offset 0 serves."""
    return np.ndarray(stored.shape, stored.dtype, buffer=mapped, offset=stored.offset or 0)


class OpenShard:
    """An open shard.

    Args:
        path: the shard.
        sidecar: of the shard.

    Attributes:
        arrays: read-only array by dataset; strings are bytes and offsets.
    """

    ids_name = "image_ids"
    offsets_name = "offsets"

    def __init__(self, path: Path, sidecar: Sidecar) -> None:
        self.path = path
        self.arrays: Mapping[str, Any] = open_arrays(path, sidecar)
        # A list is read faster, one element at a time, than an array.
        self.offsets: list[int] = self.arrays[self.offsets_name].tolist()

    @cached_property
    def ids(self) -> list[str]:
        """Ids of the records in order."""
        return decode_strings(self.arrays, self.ids_name)

    def record(self, row: int) -> Any:
        """The record of that row."""
        raise NotImplementedError


class RegionsShard(OpenShard):
    """A shard of regions."""

    def __init__(self, path: Path, sidecar: Sidecar) -> None:
        super().__init__(path, sidecar)
        self._per_region = [
            (name, self.arrays[name])
            for name in ("features", "boxes", "labels", "scores", "attributes", "attribute_scores")
            if name in self.arrays
        ]
        sizes = self.arrays.get("image_sizes")
        self._sizes = None if sizes is None else [(h, w) for h, w in sizes.tolist()]
        relations = self.arrays.get("relation_offsets")
        self._relation_offsets = None if relations is None else relations.tolist()

    def record(self, row: int) -> ImageRegions:
        """The image of that row; its arrays are read-only views."""
        rows = slice(self.offsets[row], self.offsets[row + 1])
        fields: dict[str, Any] = {name: array[rows] for name, array in self._per_region}
        fields["image_id"] = self.ids[row]
        if self._sizes is not None:
            fields["image_size"] = self._sizes[row]
        if self._relation_offsets is not None:
            rows = slice(self._relation_offsets[row], self._relation_offsets[row + 1])
            fields["relations"] = self.arrays["relations"][rows]
            if "relation_scores" in self.arrays:
                fields["relation_scores"] = self.arrays["relation_scores"][rows]
        # The __init__ of a frozen dataclass sets field by field, which takes as long as all of the
        # above; what is not in the record's own dictionary is the class's default, None.
        record = object.__new__(ImageRegions)
        record.__dict__.update(fields)
        return record


class CaptionsShard(OpenShard):
    """A shard of captions."""

    ids_name = "caption_ids"
    offsets_name = "token_offsets"

    @cached_property
    def image_ids(self) -> list[str]:
        """Id of the image that each caption describes."""
        return decode_strings(self.arrays, "image_ids")

    @cached_property
    def strings(self) -> list[str]:
        """The table that forms, lemmas and all other codes point into."""
        return decode_strings(self.arrays, "strings")

    def record(self, row: int) -> ParsedCaption:
        """The caption of that row."""
        tokens = slice(self.offsets[row], self.offsets[row + 1])
        table = self.strings
        fields = {
            field: tuple([table[code] for code in self.arrays[name][tokens].tolist()])
            for name, field in (
                ("form", "forms"),
                ("lemma", "lemmas"),
                ("pos", "pos"),
                ("deprel", "deprels"),
            )
        }
        objects = self._rows("objects", "object_offsets", row)
        triples = self._rows("triples", "triple_offsets", row)
        return ParsedCaption(
            caption_id=self.ids[row],
            image_id=self.image_ids[row],
            text=_string(self.arrays, "text", row),
            heads=tuple(self.arrays["head"][tokens].tolist()),
            objects=tuple([CaptionSpan(start, end, table[code]) for start, end, code in objects]),
            triples=tuple([_triple(columns, table) for columns in triples]),
            negated="negated" in self.arrays and bool(self.arrays["negated"][row]),
            **fields,
        )

    def _rows(self, name: str, offsets: str, row: int) -> list[list[int]]:
        start, end = self.arrays[offsets][row : row + 2].tolist()
        return self.arrays[name][start:end].tolist()


def open_shard(path: Path, sidecar: Sidecar) -> OpenShard:
    """Open a shard of either kind."""
    return (RegionsShard if sidecar.kind == "regions" else CaptionsShard)(path, sidecar)


def decode_strings(arrays: Mapping[str, Any], name: str) -> list[str]:
    """All strings of a column."""
    data = arrays[name].tobytes()
    offsets = arrays[f"{name}_offsets"].tolist()
    return [data[a:b].decode() for a, b in pairwise(offsets)]


def _string(arrays: Mapping[str, Any], name: str, row: int) -> str:
    start, end = arrays[f"{name}_offsets"][row : row + 2].tolist()
    return arrays[name][start:end].tobytes().decode()


def _triple(columns: list[int], table: list[str]) -> CaptionTriple:
    """A row of `triples`; its columns are `schema.TRIPLE_COLUMNS`."""
    subject, start, end, predicate, object_, a_start, a_end, attribute, rule = columns
    return CaptionTriple(
        subject=subject,
        predicate=CaptionSpan(start, end, table[predicate]),
        object=object_,
        attribute=None if attribute == -1 else CaptionSpan(a_start, a_end, table[attribute]),
        rule=table[rule],
    )
