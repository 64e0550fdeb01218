"""Small shards of regions and captions that are made in the test."""

import numpy as np
import pytest

from pipeline.shards.records import CaptionSpan, CaptionTriple, ImageRegions, ParsedCaption
from pipeline.shards.sidecar import shard_path
from pipeline.shards.writer import write_shard

MADE_BY = {"settings": {"boxes": 36}, "fingerprint": {"detector": "a1b2"}}
NAMES = {"labels": ["cat", "dog", "man"], "attributes": ["red", "big"], "relations": ["on", "by"]}


def make_image(image_id, num_regions=3, width=8, seed=0, **fields):
    """An image of 100 x 200 pixels with every field filled."""
    random = np.random.default_rng(seed)
    corner = random.uniform(0, 80, (num_regions, 2))
    P = 2 if num_regions else 0
    filled = {
        "features": random.normal(size=(num_regions, width)).astype(np.float32),
        "boxes": np.concatenate([corner, corner + 10], axis=1).astype(np.float32),
        "image_size": (100, 200),
        "labels": random.integers(0, 3, num_regions),
        "scores": random.uniform(size=num_regions).astype(np.float32),
        "attributes": random.integers(0, 2, num_regions),
        "attribute_scores": random.uniform(size=num_regions).astype(np.float32),
        "relations": random.integers(0, min(num_regions, 2) or 1, (P, 3)),
        "relation_scores": random.uniform(size=P).astype(np.float32),
    }
    return ImageRegions(image_id, **(filled | fields))


def make_caption(caption_id, image_id, **fields):
    """`A dog's leg is red`, with a triple of each sort."""
    leg, dog = CaptionSpan(2, 3, "leg"), CaptionSpan(1, 2, "dog")
    filled = {
        "text": "A dog leg red",
        "forms": ("A", "dog", "leg", "red"),
        "lemmas": ("a", "dog", "leg", "red"),
        "pos": ("DET", "NOUN", "NOUN", "ADJ"),
        "heads": (2, 2, 2, 2),
        "deprels": ("det", "compound", "ROOT", "amod"),
        "objects": (dog, leg),
        "triples": (
            CaptionTriple(0, CaptionSpan(-1, -1, "have"), 1, None, "possessive"),
            CaptionTriple(1, CaptionSpan(3, 4, "is"), -1, CaptionSpan(3, 4, "red"), "adjective"),
        ),
    }
    return ParsedCaption(caption_id, image_id, **(filled | fields))


@pytest.fixture
def image():
    return make_image


@pytest.fixture
def caption():
    return make_caption


@pytest.fixture
def made_by():
    return MADE_BY


@pytest.fixture
def names():
    return NAMES


@pytest.fixture
def shards(tmp_path):
    """A folder of two shards of regions and two of captions: ten images of two captions each."""
    folder = tmp_path / "shards"
    for number in range(2):
        ids = [f"image-{number}-{k}" for k in range(5)]
        write_shard(
            shard_path(folder, "regions", number),
            "regions",
            [make_image(id_, num_regions=k + 1, seed=k) for k, id_ in enumerate(ids)],
            split="train",
            names=NAMES,
            **MADE_BY,
        )
        write_shard(
            shard_path(folder, "captions", number),
            "captions",
            [make_caption(f"{id_}#{k}", id_) for id_ in ids for k in range(2)],
            split="train",
            **MADE_BY,
        )
    return folder
