"""What is written is what is read, for records of any size."""

import tempfile
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.shards.reader import ShardReader
from pipeline.shards.records import CaptionSpan, CaptionTriple, ImageRegions, ParsedCaption
from pipeline.shards.writer import write_shard

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)  # all of Unicode, NUL too
IDS = st.lists(TEXT.filter(bool), unique=True, max_size=4)
HALF = st.floats(-60000, 60000, width=16)
SINGLE = st.floats(width=32, allow_nan=False, allow_infinity=False)
INT32 = st.integers(0, 2**31 - 2)


def arrays(dtype, shape, elements):
    return hnp.arrays(dtype, shape, elements=elements)


@st.composite
def images(draw):
    """Images of one shard: each has the same optional fields and feature width."""
    optional = ["boxes", "image_size", "labels", "scores", "attributes", "attribute_scores"]
    there = draw(st.sets(st.sampled_from([*optional, "relations"])))
    width = draw(st.integers(0, 3))
    has_relation_scores = draw(st.booleans())
    return [draw(one_image(image_id, width, there, has_relation_scores)) for image_id in draw(IDS)]


@st.composite
def one_image(draw, image_id, width, there, has_relation_scores):
    R = draw(st.integers(0, 3))
    P = draw(st.integers(0, 2)) if R else 0
    choices = {
        "boxes": arrays("f4", (R, 4), SINGLE),
        "image_size": st.tuples(st.integers(1, 10**6), st.integers(1, 10**6)),
        "labels": arrays("i8", R, INT32),
        "scores": arrays("f2", R, HALF),
        "attributes": arrays("u2", R, st.integers(0, 2**16 - 1)),
        "attribute_scores": arrays("f2", R, HALF),
        "relations": arrays("i4", (P, 3), st.integers(0, max(R - 1, 0))),
    }
    filled = {name: draw(choices[name]) for name in sorted(there)}
    if "relations" in there and has_relation_scores:
        filled["relation_scores"] = draw(arrays("f2", P, HALF))
    return ImageRegions(image_id, draw(arrays("f2", (R, width), HALF)), **filled)


@st.composite
def captions(draw):
    return [draw(one_caption(caption_id)) for caption_id in draw(IDS)]


@st.composite
def one_caption(draw, caption_id):
    W = draw(st.integers(0, 4))
    words = st.tuples(*[TEXT] * W)
    objects = draw(st.lists(spans(W), max_size=3)) if W else []
    triples = draw(st.lists(some_triple(W, len(objects)), max_size=3)) if objects else []
    return ParsedCaption(
        caption_id,
        draw(TEXT),
        draw(TEXT),
        forms=draw(words),
        lemmas=draw(words),
        pos=draw(words),
        heads=draw(st.tuples(*[st.integers(0, W - 1)] * W)),
        deprels=draw(words),
        objects=tuple(objects),
        triples=tuple(triples),
    )


@st.composite
def spans(draw, W):
    start = draw(st.integers(0, W - 1))
    return CaptionSpan(start, draw(st.integers(start + 1, W)), draw(TEXT))


@st.composite
def some_triple(draw, W, num_objects):
    index = st.integers(0, num_objects - 1)
    predicate = draw(spans(W) | st.builds(CaptionSpan, st.just(-1), st.just(-1), TEXT))
    attribute = draw(st.none() | spans(W))
    return CaptionTriple(
        draw(index), predicate, draw(index) if attribute is None else -1, attribute, draw(TEXT)
    )


def assert_same_image(image, other):
    for field in fields(ImageRegions):
        ours, theirs = getattr(image, field.name), getattr(other, field.name)
        if isinstance(ours, np.ndarray):
            assert isinstance(theirs, np.ndarray), field.name
            assert ours.shape == theirs.shape, field.name
            np.testing.assert_array_equal(ours, theirs, field.name)
        else:
            assert ours == theirs, field.name


@settings(max_examples=40, deadline=None)
@given(records=images(), dtype=st.sampled_from(["float16", "float32"]))
def test_images_read_back_as_written(records, dtype):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "regions-00000.h5"
        write_shard(path, "regions", records, settings={}, fingerprint={}, split=None, dtype=dtype)
        reader = ShardReader(folder, "regions")
        assert reader.ids == [image.image_id for image in records]
        for i, image in enumerate(records):
            assert_same_image(image, reader[i])
            assert reader[i].features.dtype == dtype


@settings(max_examples=40, deadline=None)
@given(records=captions())
def test_captions_read_back_as_written(records):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "captions-00000.h5"
        write_shard(path, "captions", records, settings={}, fingerprint={}, split=None)
        assert list(ShardReader(folder, "captions")) == records


@settings(max_examples=20, deadline=None)
@given(records=images() | captions())
def test_equal_records_give_equal_bytes(records):
    kind = "captions" if records and isinstance(records[0], ParsedCaption) else "regions"
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / number / f"{kind}-00000.h5" for number in "12"]
        for path in paths:
            write_shard(path, kind, records, settings={"b": 1}, fingerprint={}, split="val")
        assert paths[0].read_bytes() == paths[1].read_bytes()
        first, second = (path.with_suffix(".json").read_bytes() for path in paths)
        assert first == second


def test_float32_keeps_every_bit(tmp_path, image, made_by):
    picture = image("a", num_regions=20, width=64)
    write_shard(
        tmp_path / "regions-00000.h5", "regions", [picture], split=None, dtype="float32", **made_by
    )
    features = ShardReader(tmp_path, "regions")[0].features
    assert features.tobytes() == picture.features.tobytes()


def test_plain_h5py_reads_a_shard(shards):
    h5py = pytest.importorskip("h5py")
    with h5py.File(shards / "regions-00001.h5") as file:
        assert file.attrs["schema_version"] == 1
        assert file.attrs["split"] == "train"
        assert '"detector": "a1b2"' in file.attrs["fingerprint"]
        a, b = file["offsets"][3:5]
        there = file["features"][a:b]
        assert file["features"].chunks is None
    np.testing.assert_array_equal(ShardReader(shards, "regions")[8].features, there)
