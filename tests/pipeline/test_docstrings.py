"""The examples in docstrings run as they stand, in a folder that has `shards`."""

import doctest
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import pipeline
from pipeline.shards.records import ImageRegions, ParsedCaption
from pipeline.shards.writer import write_shard

PACKAGE = Path(pipeline.__file__).parent
FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if ">>> " in path.read_text()]


def module_name(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.fixture(scope="module")
def folder_with_shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    image = ImageRegions(
        "dog.jpg",
        features=np.ones((2, 256), np.float32),
        boxes=np.array([[0, 0, 30, 20], [4, 5, 12, 18]], np.float32),
        image_size=(20, 30),
    )
    caption = ParsedCaption("dog.jpg#0", "dog.jpg", "a dog in a field")
    for kind, record in (("regions", image), ("captions", caption)):
        path = folder / "shards" / f"{kind}-00000.h5"
        write_shard(path, kind, [record], settings={}, fingerprint={}, split="train")
    return folder


@pytest.mark.parametrize("name", [module_name(path) for path in FILES])
def test_examples_run(name, folder_with_shards, monkeypatch):
    monkeypatch.chdir(folder_with_shards)
    result = doctest.testmod(import_module(name))
    assert result.attempted
    assert not result.failed


def test_the_public_interface_has_examples():
    assert "pipeline" in [module_name(path) for path in FILES]
