"""Small images with regions, and the two commands."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import strategies as st

from pipeline.cli import main
from pipeline.shards.reader import ShardReader
from pipeline.shards.records import ImageRegions
from pipeline.shards.sidecar import shard_path
from pipeline.shards.writer import write_shard

KEPT = ("boxes", "image_size", "labels", "scores", "attributes", "attribute_scores")


@pytest.fixture(scope="session")
def run():
    """Run a command of the pipeline and give (exit code, everything it printed)."""

    def run_command(*arguments):
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        return result.exit_code, result.output

    return run_command


@pytest.fixture(scope="session")
def make_image():
    """An image of random regions, everything set; keyword arguments replace attributes."""

    def make(image_id, num_regions=3, width=8, seed=0, **changes):
        rng = np.random.default_rng([seed, len(image_id), *image_id.encode()])
        corners = rng.uniform(0, 100, (num_regions, 2, 2)).astype(np.float32)
        arrays = {
            "features": rng.normal(size=(num_regions, width)).astype(np.float32),
            "boxes": np.sort(corners, axis=1).reshape(num_regions, 4),
            "image_size": (120, 100),
            "labels": rng.integers(0, 1600, num_regions),
            "scores": rng.random(num_regions, np.float32),
            "attributes": rng.integers(0, 400, num_regions),
            "attribute_scores": rng.random(num_regions, np.float32),
        }
        return ImageRegions(image_id, **(arrays | changes))

    return make


@pytest.fixture(scope="session")
def write_shards():
    """Write images as a folder of float32 shards, two images each."""

    def write(folder, images, dtype="float32", split="train"):
        for number, start in enumerate(range(0, len(images), 2)):
            write_shard(
                shard_path(Path(folder), "regions", number),
                "regions",
                images[start : start + 2],
                settings={"command": "test"},
                fingerprint={"detector": "none"},
                split=split,
                dtype=dtype,
            )

    return write


@pytest.fixture(scope="session")
def read_shards():
    """The images of a folder of shards."""

    def read(folder, split=None):
        return list(ShardReader(folder, "regions", split))

    return read


@pytest.fixture(scope="session")
def assert_same():
    """Compare images bit for bit in these attributes."""

    def check(found, expected, attributes=KEPT):
        assert [image.image_id for image in found] == [image.image_id for image in expected]
        for ours, theirs in zip(found, expected, strict=True):
            for name in ("features", *attributes):
                a, b = np.asarray(getattr(ours, name)), np.asarray(getattr(theirs, name))
                assert a.shape == b.shape, name
                assert a.astype(b.dtype).tobytes() == b.tobytes(), name

    return check


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for one example of a property test."""
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


@pytest.fixture(scope="session")
def image_lists():
    """Strategy: lists of one to six images of one width, the numbers of their regions differing."""
    return _image_lists


@st.composite
def _image_lists(draw, ids=None, min_regions=0, max_regions=4):
    if ids is None:
        ids = st.text(
            st.characters(exclude_categories=("C", "Z"), include_characters=' "'), min_size=1
        )
    image_ids = draw(st.lists(ids, min_size=1, max_size=6, unique=True))
    width = draw(st.integers(1, 5))
    return [draw(_images(image_id, width, min_regions, max_regions)) for image_id in image_ids]


@st.composite
def _images(draw, image_id, width, min_regions, max_regions):
    R = draw(st.integers(min_regions, max_regions))
    height, breadth = draw(st.integers(1, 9000)), draw(st.integers(1, 9000))
    finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
    share = st.floats(0, 1, width=32)

    def values(strategy, count):
        return draw(st.lists(strategy, min_size=count, max_size=count))

    pairs = st.lists(st.integers(0, 64), min_size=2, max_size=2, unique=True).map(sorted)
    sides = np.array(values(st.tuples(pairs, pairs), R), np.float32).reshape(R, 2, 2) / 64
    boxes = sides.transpose(0, 2, 1) * np.array([breadth, height], np.float32)  # x0, y0, x1, y1
    classes = st.integers(0, 2**31 - 2)
    return ImageRegions(
        image_id,
        features=np.array(values(finite, R * width), np.float32).reshape(R, width),
        boxes=boxes.reshape(R, 4),
        image_size=(height, breadth),
        labels=np.array(values(classes, R), np.int64),
        scores=np.array(values(share, R), np.float32),
        attributes=np.array(values(classes, R), np.int64),
        attribute_scores=np.array(values(share, R), np.float32),
    )
