"""The schema of shards: the names, dtypes and shapes of their datasets, and the version.

Ragged lists are stored flat, with `offsets` one longer than the list (CSR). Strings are
stored the same way: UTF-8 bytes and `<name>_offsets`, as only fixed-width datasets can be
memory-mapped. Numbers are little-endian.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

SCHEMA_VERSION = 1

Kind = Literal["regions", "captions"]
KINDS: tuple[Kind, ...] = ("regions", "captions")

FLOAT_DTYPES = ("float16", "float32")

RECORDS: dict[Kind, str] = {"regions": "images", "captions": "captions"}
"""What one record of each kind is; the name of its count."""

NAMED = ("labels", "attributes", "relations")
"""Datasets of indices into names: `names["labels"][labels[r]]` is the class of region r, and
`names["relations"][relations[p, 1]]` the predicate of relation p."""


@dataclass(frozen=True)
class Dataset:
    """One dataset of a shard.

    Attributes:
        dtype: numpy's name of the type; `strings` is a byte blob with its own `<name>_offsets`;
            `float` is the shard's float type, float16 unless float32 was asked for.
        rows: which count the first axis has; offsets have one more.
        columns: the second axis: a width, `width` for the feature width, or 0 for none.
        optional: whether a shard may lack it.
    """

    dtype: str
    rows: str
    columns: int | Literal["width"] = 0
    optional: bool = False


REGIONS: dict[str, Dataset] = {
    "image_ids": Dataset("strings", "images"),
    "image_sizes": Dataset("int32", "images", 2, optional=True),  # height, width
    "offsets": Dataset("int64", "images+1"),
    "features": Dataset("float", "regions", "width"),
    "boxes": Dataset("float32", "regions", 4, optional=True),
    "labels": Dataset("int32", "regions", optional=True),
    "scores": Dataset("float", "regions", optional=True),
    "attributes": Dataset("int32", "regions", optional=True),
    "attribute_scores": Dataset("float", "regions", optional=True),
    "relation_offsets": Dataset("int64", "images+1", optional=True),
    "relations": Dataset("int32", "relations", 3, optional=True),
    "relation_scores": Dataset("float", "relations", optional=True),
}

CAPTIONS: dict[str, Dataset] = {
    "caption_ids": Dataset("strings", "captions"),
    "image_ids": Dataset("strings", "captions"),
    "text": Dataset("strings", "captions"),
    "strings": Dataset("strings", "strings"),  # the table that every code below points into
    "token_offsets": Dataset("int64", "captions+1"),
    "form": Dataset("int32", "tokens"),
    "lemma": Dataset("int32", "tokens"),
    "pos": Dataset("int32", "tokens"),
    "head": Dataset("int32", "tokens"),
    "deprel": Dataset("int32", "tokens"),
    "object_offsets": Dataset("int64", "captions+1"),
    "objects": Dataset("int32", "objects", 3),  # start, end, string
    "triple_offsets": Dataset("int64", "captions+1"),
    "triples": Dataset("int32", "triples", 9),
    "negated": Dataset("int32", "captions", optional=True),  # 1: the caption denies something
}

TRIPLE_COLUMNS = (
    "subject",
    "predicate_start",
    "predicate_end",
    "predicate",
    "object",
    "attribute_start",
    "attribute_end",
    "attribute",
    "rule",
)
"""Columns of `triples`: subject and object are rows of the caption's objects, -1 for none;
predicate, attribute and rule are codes of strings, -1 for none."""

SCHEMAS: dict[Kind, dict[str, Dataset]] = {"regions": REGIONS, "captions": CAPTIONS}


@dataclass(frozen=True)
class StoredDataset:
    """A dataset as stored in the file: `strings` are split into bytes and offsets.

    Attributes:
        dtype: numpy's name with the byte order, such as `<f2`.
        rows: which count the first axis has; `<name>_bytes` for the bytes of strings.
        extra: how much longer than that count the first axis is: 1 for offsets.
        columns: the second axis, as in `Dataset`.
        optional: whether a shard may lack it.
    """

    dtype: str
    rows: str
    extra: int
    columns: int | Literal["width"]
    optional: bool


def stored_datasets(kind: Kind, float_dtype: str = "float16") -> dict[str, StoredDataset]:
    """The datasets of a file of that kind, in the order in which they are written."""
    stored = {}
    for name, dataset in SCHEMAS[kind].items():
        rows = dataset.rows.removesuffix("+1")
        extra = int(rows != dataset.rows)
        if dataset.dtype == "strings":
            stored[name] = StoredDataset("|u1", f"{name}_bytes", 0, 0, dataset.optional)
            stored[f"{name}_offsets"] = StoredDataset("<i8", rows, 1, 0, dataset.optional)
            continue
        dtype = np.dtype(float_dtype if dataset.dtype == "float" else dataset.dtype)
        stored[name] = StoredDataset(
            dtype.newbyteorder("<").str, rows, extra, dataset.columns, dataset.optional
        )
    return stored
