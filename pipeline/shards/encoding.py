"""Encode records as the flat arrays of a shard, and refuse faulty records.

R regions, D feature width, P relations of an image; W tokens of a caption.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.shards.records import CaptionSpan, CaptionTriple, ImageRegions, ParsedCaption
from pipeline.shards.schema import Kind

Parts = list[NDArray[Any]]
"""The parts of one dataset in order; they are written without being concatenated."""

Names = Mapping[str, Sequence[str]]

_INT32_MAX = 2**31 - 1


class Encoder(Protocol):
    """Collects the records of one shard.

    Attributes:
        ids: of the records so far.
    """

    ids: set[str]

    def add(self, record: Any) -> None:
        """Append a record; if it is faulty, raise DataError with its id and append nothing."""

    def arrays(self) -> dict[str, Parts]:
        """The parts of every dataset of the shard."""
        ...

    def counts(self) -> dict[str, int]:
        """The counts for the sidecar."""
        ...


def make_encoder(kind: Kind, dtype: str, names: Names | None) -> Encoder:
    """An encoder for a shard of that kind."""
    return RegionsEncoder(dtype, names) if kind == "regions" else CaptionsEncoder()


class _Strings:
    """A column of strings: UTF-8 bytes and offsets."""

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self.offsets = [0]

    def append(self, encoded: bytes) -> None:
        self.data.append(encoded)
        self.offsets.append(self.offsets[-1] + len(encoded))

    def arrays(self, name: str) -> dict[str, Parts]:
        data = np.frombuffer(b"".join(self.data), "|u1")
        return {name: [data], f"{name}_offsets": [np.array(self.offsets, "<i8")]}


class RegionsEncoder:
    """Images and their regions, as the arrays of `schema.REGIONS`.

    Args:
        dtype: of features and scores, float16 or float32.
        names: class names that bound labels, attributes and predicates.
    """

    def __init__(self, dtype: str, names: Names | None = None) -> None:
        self.ids: set[str] = set()
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._limits = {name: len(classes) for name, classes in (names or {}).items()}
        self._image_ids = _Strings()
        self._offsets = [0]
        self._relation_offsets = [0]
        self._parts: dict[str, Parts] = {}
        self._width: int | None = None

    def add(self, record: ImageRegions) -> None:
        """Append an image.

        Raises:
            DataError: shapes disagree, a number is not finite or out of range, the id is there
                already, or the image lacks what the images before it have.
        """
        where = f"image {record.image_id!r}"
        image_id = _new_id(record.image_id, where, self.ids)
        parts = self._cast(record, where)
        if self._width is None:
            self._width, self._parts = parts["features"].shape[1], {name: [] for name in parts}
        self._check_alike(parts, where)
        for name, part in parts.items():
            self._parts[name].append(part)
        self.ids.add(record.image_id)
        self._image_ids.append(image_id)
        self._offsets.append(self._offsets[-1] + len(parts["features"]))
        self._relation_offsets.append(self._relation_offsets[-1] + len(parts.get("relations", ())))

    def arrays(self) -> dict[str, Parts]:
        """The parts of every dataset of the shard."""
        arrays = self._image_ids.arrays("image_ids") | self._parts
        arrays["offsets"] = [np.array(self._offsets, "<i8")]
        arrays.setdefault("features", [np.zeros((0, 0), self._dtype)])
        if "relations" in arrays:
            arrays["relation_offsets"] = [np.array(self._relation_offsets, "<i8")]
        return arrays

    def counts(self) -> dict[str, int]:
        """Images, regions and relations in the shard."""
        return {
            "images": len(self.ids),
            "regions": self._offsets[-1],
            "relations": self._relation_offsets[-1],
        }

    def _cast(self, record: ImageRegions, where: str) -> dict[str, NDArray[Any]]:
        features = _floats(record.features, (None, None), self._dtype, f"{where}: features")
        R = len(features)
        parts = {"features": features}
        if record.image_size is not None:
            size = np.asarray(record.image_size)
            parts["image_sizes"] = _integers(size, (2,), None, f"{where}: image_size")[None]
            if (parts["image_sizes"] == 0).any():
                raise DataError(f"{where}: image_size is {record.image_size}, expected pixels.")
        if record.boxes is not None:
            parts["boxes"] = _floats(record.boxes, (R, 4), np.dtype("<f4"), f"{where}: boxes")
        for name in ("labels", "attributes"):
            value = getattr(record, name)
            if value is not None:
                parts[name] = _integers(value, (R,), self._limits.get(name), f"{where}: {name}")
        for name in ("scores", "attribute_scores"):
            value = getattr(record, name)
            if value is not None:
                parts[name] = _floats(value, (R,), self._dtype, f"{where}: {name}")
        return parts | self._cast_relations(record, R, where)

    def _cast_relations(self, record: ImageRegions, R: int, where: str) -> dict[str, NDArray[Any]]:
        if record.relations is None:
            if record.relation_scores is not None:
                raise DataError(f"{where}: has relation_scores but no relations.")
            return {}
        relations = _integers(record.relations, (None, 3), None, f"{where}: relations")
        _below(relations[:, [0, 2]], R, f"{where}: relations name a region")
        predicates = self._limits.get("relations")
        if predicates is not None:
            _below(relations[:, 1], predicates, f"{where}: relations name a predicate")
        parts = {"relations": relations}
        if record.relation_scores is not None:
            parts["relation_scores"] = _floats(
                record.relation_scores, (len(relations),), self._dtype, f"{where}: relation_scores"
            )
        return parts

    def _check_alike(self, parts: Mapping[str, NDArray[Any]], where: str) -> None:
        width = parts["features"].shape[1]
        if width != self._width:
            raise DataError(
                f"{where}: features are {width} wide, those before it in the shard {self._width}."
            )
        differ = sorted(set(parts) ^ set(self._parts))
        if differ:
            has = "has" if differ[0] in parts else "has no"
            raise DataError(
                f"{where}: {has} {differ[0]}, unlike the images before it in the shard. "
                "Give it for all images of a shard or for none."
            )


class CaptionsEncoder:
    """Parsed captions, as the arrays of `schema.CAPTIONS`.

    A string gets its code when it first appears, so equal captions in equal order give equal bytes.
    """

    _FIELDS = (("form", "forms"), ("lemma", "lemmas"), ("pos", "pos"), ("deprel", "deprels"))

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self._texts = {name: _Strings() for name in ("caption_ids", "image_ids", "text")}
        self._codes: dict[str, int] = {}
        self._table = _Strings()
        self._tokens: dict[str, list[int]] = {
            name: [] for name in ("form", "lemma", "pos", "head", "deprel")
        }
        self._objects: list[tuple[int, ...]] = []
        self._triples: list[tuple[int, ...]] = []
        self._negated: list[bool] = []
        self._offsets: dict[str, list[int]] = {
            name: [0] for name in ("token_offsets", "object_offsets", "triple_offsets")
        }

    def add(self, record: ParsedCaption) -> None:
        """Append a caption.

        Raises:
            DataError: token fields disagree in length, a head, span or object is out of range, a
                text is not valid Unicode, or the id is there already.
        """
        where = f"caption {record.caption_id!r}"
        texts = {
            "caption_ids": _new_id(record.caption_id, where, self.ids),
            "image_ids": _utf8(record.image_id, f"{where}: image_id"),
            "text": _utf8(record.text, f"{where}: text"),
        }
        _check_caption(record, where)
        self._learn(record, where)
        for name, encoded in texts.items():
            self._texts[name].append(encoded)
        self.ids.add(record.caption_id)
        codes = self._codes
        for name, field in self._FIELDS:
            self._tokens[name] += [codes[value] for value in getattr(record, field)]
        self._tokens["head"] += record.heads
        self._objects += [(o.start, o.end, codes[o.string]) for o in record.objects]
        self._triples += [self._triple(triple) for triple in record.triples]
        self._negated.append(record.negated)
        lengths = (len(self._tokens["head"]), len(self._objects), len(self._triples))
        for offsets, length in zip(self._offsets.values(), lengths, strict=True):
            offsets.append(length)

    def arrays(self) -> dict[str, Parts]:
        """The parts of every dataset of the shard."""
        arrays: dict[str, Parts] = {}
        for name, strings in self._texts.items():
            arrays |= strings.arrays(name)
        arrays |= self._table.arrays("strings")
        arrays |= {name: [np.array(codes, "<i4")] for name, codes in self._tokens.items()}
        arrays |= {name: [np.array(offsets, "<i8")] for name, offsets in self._offsets.items()}
        arrays["objects"] = [np.array(self._objects, "<i4").reshape(-1, 3)]
        arrays["triples"] = [np.array(self._triples, "<i4").reshape(-1, 9)]
        arrays["negated"] = [np.array(self._negated, "<i4")]
        return arrays

    def counts(self) -> dict[str, int]:
        """Captions, strings, tokens, objects and triples in the shard."""
        return {
            "captions": len(self.ids),
            "strings": len(self._codes),
            "tokens": len(self._tokens["head"]),
            "objects": len(self._objects),
            "triples": len(self._triples),
        }

    def _learn(self, record: ParsedCaption, where: str) -> None:
        """Give each new string a code; give none if one of them is not Unicode."""
        new = [string for string in _strings_of(record) if string not in self._codes]
        encoded = {string: _utf8(string, f"{where}: words and triples") for string in new}
        for string, data in encoded.items():
            self._codes[string] = len(self._codes)
            self._table.append(data)

    def _triple(self, triple: CaptionTriple) -> tuple[int, ...]:
        predicate, attribute = triple.predicate, triple.attribute
        return (
            triple.subject,
            *(predicate.start, predicate.end, self._codes[predicate.string]),
            triple.object,
            *(
                (attribute.start, attribute.end, self._codes[attribute.string])
                if attribute
                else (-1, -1, -1)
            ),
            self._codes[triple.rule],
        )


def _check_caption(record: ParsedCaption, where: str) -> None:
    W = len(record.forms)
    for field in ("lemmas", "pos", "heads", "deprels"):
        if len(getattr(record, field)) != W:
            raise DataError(f"{where}: {W} forms but {len(getattr(record, field))} {field}.")
    for token, head in enumerate(record.heads):
        if not 0 <= head < W:
            raise DataError(f"{where}: the head of token {token} is {head}, expected 0 to {W - 1}.")
    for span in record.objects:
        _check_span(span, W, where, "object")
    for triple in record.triples:
        _check_triple(triple, W, len(record.objects), where)


def _check_triple(triple: CaptionTriple, W: int, num_objects: int, caption: str) -> None:
    where = f"{caption}: triple of rule {triple.rule!r}"
    if triple.predicate.start != -1 or triple.predicate.end != -1:
        _check_span(triple.predicate, W, where, "predicate")
    if triple.attribute is not None:
        _check_span(triple.attribute, W, where, "attribute")
    if not 0 <= triple.subject < num_objects:
        raise DataError(f"{where}: subject {triple.subject} is none of {num_objects} objects.")
    if triple.attribute is None and not 0 <= triple.object < num_objects:
        raise DataError(f"{where}: object {triple.object} is none of {num_objects} objects.")
    if triple.attribute is not None and triple.object != -1:
        raise DataError(f"{where}: has an attribute and object {triple.object}, expected -1.")


def _check_span(span: CaptionSpan, W: int, where: str, what: str) -> None:
    if not 0 <= span.start < span.end <= W:
        raise DataError(
            f"{where}: {what} {span.string!r} spans {span.start} to {span.end} of {W} tokens."
        )


def _strings_of(record: ParsedCaption) -> Iterator[str]:
    """All strings of a caption that get a code, in the order of the columns."""
    for strings in (record.forms, record.lemmas, record.pos, record.deprels):
        yield from strings
    for span in record.objects:
        yield span.string
    for triple in record.triples:
        yield triple.predicate.string
        if triple.attribute is not None:
            yield triple.attribute.string
        yield triple.rule


def _utf8(text: str, where: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{where} is not valid Unicode ({text!r}): a lone surrogate has no UTF-8. "
            "Decode the source with its own encoding."
        ) from error


def _new_id(text: str, where: str, known: set[str]) -> bytes:
    if not text:
        raise DataError("a record has an empty id. Give every image and caption an id of its own.")
    if text in known:
        raise DataError(f"{where} appears twice in one shard. Ids must be unique.")
    return _utf8(text, f"{where}: id")


def _floats(
    value: Any, shape: tuple[int | None, ...], dtype: np.dtype[Any], where: str
) -> NDArray[Any]:
    """A copy in `dtype`; the record's maker may reuse its memory."""
    array = np.asarray(value)
    _check_shape(array, shape, where)
    if array.dtype.kind != "f":
        raise DataError(f"{where} are {array.dtype}, expected floating point.")
    with np.errstate(over="ignore"):
        cast = array.astype(dtype, order="C")
    if not np.isfinite(cast).all():
        finite = bool(np.isfinite(array).all())
        advice = f" in {dtype.name}; write the shard as float32" if finite else ""
        raise DataError(f"{where} are not finite{advice}.")
    return cast


def _integers(
    value: Any, shape: tuple[int | None, ...], limit: int | None, where: str
) -> NDArray[Any]:
    array = np.asarray(value)
    _check_shape(array, shape, where)
    if array.dtype.kind not in "iu":
        raise DataError(f"{where} are {array.dtype}, expected integers.")
    _below(array, _INT32_MAX if limit is None else limit, where)
    return array.astype("<i4", order="C")


def _below(array: NDArray[Any], limit: int, where: str) -> None:
    if array.size and (array.min() < 0 or array.max() >= limit):
        bad = array.min() if array.min() < 0 else array.max()
        raise DataError(f"{where}: {bad} is out of range, expected 0 to {limit - 1}.")


def _check_shape(array: NDArray[Any], shape: tuple[int | None, ...], where: str) -> None:
    if array.ndim != len(shape) or any(
        want is not None and want != have for want, have in zip(shape, array.shape, strict=False)
    ):
        expected = ", ".join("any" if n is None else str(n) for n in shape)
        raise DataError(f"{where} have shape {list(array.shape)}, expected [{expected}].")
