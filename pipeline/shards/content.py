"""Check every number and string in a shard's arrays.

R regions of an image, W tokens of a caption.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.shards.arrays import decode_strings
from pipeline.shards.schema import CAPTIONS, SCHEMAS, Kind
from pipeline.shards.sidecar import Sidecar

BOX_TOLERANCE = 1.0
"""Pixels that a box may exceed its image by: float16 sources round by that much at 1,500 pixels."""

_BLOCK = 4096  # rows of features checked at a time: 16 MB of 2,048 float16
_PER_REGION = ("features", "boxes", "scores", "attribute_scores")


class Fault(NamedTuple):
    """A problem in a shard: the check that found it, and a message."""

    check: str
    message: str


class Content(NamedTuple):
    """The result of the content check: faults, and the ids of the records if they are readable."""

    faults: list[Fault]
    ids: list[str]
    image_ids: list[str]


def check_content(sidecar: Sidecar, arrays: Mapping[str, Any]) -> Content:
    """Check all arrays of a shard that agrees with the schema."""
    faults = list(_offsets(sidecar.kind, arrays)) + list(_unreadable_strings(sidecar.kind, arrays))
    if faults:
        return Content(faults, [], [])  # without sound offsets nothing else can be checked
    if sidecar.kind == "regions":
        ids = decode_strings(arrays, "image_ids")
        look = _Rows(arrays, ids, "image")
        return Content(list(_regions(look, sidecar)), ids, ids)
    ids = decode_strings(arrays, "caption_ids")
    look = _Rows(arrays, ids, "caption")
    return Content(list(_captions(look)), ids, decode_strings(arrays, "image_ids"))


def _offsets(kind: Kind, arrays: Mapping[str, Any]) -> Iterator[Fault]:
    """Offsets start at 0, never decrease, and end at the length of the array that they divide."""
    for name, ends_at in _divided(kind, arrays).items():
        offsets = arrays[name]
        if offsets[0] != 0 or (np.diff(offsets) < 0).any():
            yield Fault("offsets", f"{name} do not rise from 0.")
        elif offsets[-1] != ends_at:
            yield Fault("offsets", f"{name} end at {offsets[-1]}, expected {ends_at}.")


def _divided(kind: Kind, arrays: Mapping[str, Any]) -> dict[str, int]:
    """The length that each array of offsets must end at."""
    strings = [name for name, dataset in SCHEMAS[kind].items() if dataset.dtype == "strings"]
    ends = {f"{name}_offsets": len(arrays[name]) for name in strings}
    if kind == "captions":
        tables = {"token_offsets": "head", "object_offsets": "objects", "triple_offsets": "triples"}
    else:
        tables = {"offsets": "features", "relation_offsets": "relations"}
    return ends | {o: len(arrays[table]) for o, table in tables.items() if table in arrays}


def _unreadable_strings(kind: Kind, arrays: Mapping[str, Any]) -> Iterator[Fault]:
    for name, dataset in SCHEMAS[kind].items():
        if dataset.dtype == "strings":
            try:
                decode_strings(arrays, name)
            except UnicodeDecodeError:
                yield Fault("strings", f"{name} are not UTF-8.")


class _Rows:
    """Arrays with the record of each row, so that a fault can name it."""

    def __init__(self, arrays: Mapping[str, Any], ids: list[str], noun: str) -> None:
        self.arrays = arrays
        self.ids = ids
        self.noun = noun

    def faults(
        self, check: str, offsets: str, bad: NDArray[np.bool_], what: str
    ) -> Iterator[Fault]:
        """One fault for all bad rows; it names the record of the first."""
        if bad.any():
            row = int(bad.argmax())
            record = int(np.searchsorted(self.arrays[offsets], row, side="right")) - 1
            yield Fault(
                check,
                f"{what}: {bad.sum():,} of {len(bad):,}, first in {self.noun} "
                f"{self.ids[record]!r}.",
            )

    def lengths(self, offsets: str, per: str) -> NDArray[np.int64]:
        """For each row divided by `offsets`, the number of rows of `per` in its record."""
        return np.repeat(np.diff(self.arrays[per]), np.diff(self.arrays[offsets]))


def _regions(look: _Rows, sidecar: Sidecar) -> Iterator[Fault]:
    arrays, names = look.arrays, sidecar.names or {}
    for name in _PER_REGION:
        if name in arrays:
            bad = _not_finite(arrays[name])
            yield from look.faults(name, "offsets", bad, f"{name} that are not finite")
    yield from _boxes(look)
    for name in ("labels", "attributes"):
        if name in arrays:
            bad = _outside(arrays[name], len(names[name]) if name in names else None)
            yield from look.faults(name, "offsets", bad, f"{name} that have no name")
    if "relations" in arrays:
        yield from _relations(look, len(names["relations"]) if "relations" in names else None)


def _boxes(look: _Rows) -> Iterator[Fault]:
    if "boxes" not in look.arrays:
        return
    x0, y0, x1, y1 = np.asarray(look.arrays["boxes"]).T
    empty = (x1 <= x0) | (y1 <= y0)
    yield from look.faults("boxes", "offsets", empty, "boxes without an area")
    if "image_sizes" not in look.arrays:
        return
    sizes = look.arrays["image_sizes"]
    if (sizes <= 0).any():
        yield Fault("boxes", "image_sizes are not all positive.")
        return
    height, width = np.repeat(sizes, np.diff(look.arrays["offsets"]), axis=0).T
    out = np.minimum(x0, y0) < -BOX_TOLERANCE
    out |= (x1 > width + BOX_TOLERANCE) | (y1 > height + BOX_TOLERANCE)
    yield from look.faults("boxes", "offsets", out, "boxes outside their image")


def _relations(look: _Rows, num_predicates: int | None) -> Iterator[Fault]:
    relations = look.arrays["relations"]
    R = look.lengths("relation_offsets", "offsets")[:, None]
    bad = np.any(_outside(relations[:, [0, 2]], R), axis=1)
    yield from look.faults("relations", "relation_offsets", bad, "relations of no region")
    bad = _outside(relations[:, 1], num_predicates)
    yield from look.faults("relations", "relation_offsets", bad, "predicates that have no name")
    if "relation_scores" in look.arrays:
        bad = _not_finite(look.arrays["relation_scores"])
        yield from look.faults(
            "relations", "relation_offsets", bad, "relation_scores that are not finite"
        )


def _captions(look: _Rows) -> Iterator[Fault]:
    arrays = look.arrays
    num_strings = len(arrays["strings_offsets"]) - 1
    for name, dataset in CAPTIONS.items():
        if dataset.rows == "tokens" and name != "head":
            bad = _outside(arrays[name], num_strings)
            yield from look.faults("codes", "token_offsets", bad, f"{name} codes of no string")
    bad = _outside(arrays["head"], look.lengths("token_offsets", "token_offsets"))
    yield from look.faults("heads", "token_offsets", bad, "heads outside their caption")

    objects = arrays["objects"]
    W = look.lengths("object_offsets", "token_offsets")
    bad = _bad_spans(objects[:, 0], objects[:, 1], W)
    yield from look.faults("spans", "object_offsets", bad, "objects outside their caption")
    bad = _outside(objects[:, 2], num_strings)
    yield from look.faults("codes", "object_offsets", bad, "objects with a code of no string")
    yield from _triples(look, num_strings)


def _triples(look: _Rows, num_strings: int) -> Iterator[Fault]:
    """The columns are `schema.TRIPLE_COLUMNS`."""
    subject, start, end, predicate, object_, a_start, a_end, attribute, rule = look.arrays[
        "triples"
    ].T
    W = look.lengths("triple_offsets", "token_offsets")
    num_objects = look.lengths("triple_offsets", "object_offsets")
    is_attribute = attribute != -1
    wordless = (start == -1) & (end == -1)
    faults: list[tuple[str, NDArray[np.bool_], str]] = [
        ("spans", _bad_spans(start, end, W) & ~wordless, "predicates outside their caption"),
        ("spans", _bad_spans(a_start, a_end, W) & is_attribute, "attributes outside their caption"),
        ("triples", _outside(subject, num_objects), "subjects that are no object"),
        ("triples", _outside(object_, num_objects) & ~is_attribute, "objects that are none"),
        ("triples", (object_ != -1) & is_attribute, "attributes with an object"),
        ("codes", _outside(predicate, num_strings), "predicates with a code of no string"),
        ("codes", _outside(attribute, num_strings) & is_attribute, "attributes of no string"),
        ("codes", _outside(rule, num_strings), "rules with a code of no string"),
    ]
    for check, bad, what in faults:
        yield from look.faults(check, "triple_offsets", bad, what)


def _not_finite(rows: Any) -> NDArray[np.bool_]:
    """`[N]` whether a row has a number that is not finite; in blocks, as rows may be large."""
    bad = np.zeros(len(rows), bool)
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        finite = np.isfinite(block)
        bad[start : start + len(block)] = ~(finite.all(axis=1) if finite.ndim == 2 else finite)
    return bad


def _outside(values: NDArray[Any], limit: Any) -> NDArray[np.bool_]:
    """Whether a value is below 0, or not below the limit, if there is one."""
    return (values < 0) if limit is None else (values < 0) | (values >= limit)


def _bad_spans(start: NDArray[Any], end: NDArray[Any], W: NDArray[Any]) -> NDArray[np.bool_]:
    return (start < 0) | (end <= start) | (end > W)
