"""Generated scenes, and small networks to detect with."""

import sys
from pathlib import Path

import pytest

from pipeline.detectors.specification import open_detector
from pipeline.scenes import dataset

# Modules that several tests share. Their parent must not be on the path: its folder detectron2
# would be taken for that package.
HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "shared"), str(HERE / "detectron2")]


@pytest.fixture(scope="session")
def scenes(tmp_path_factory) -> Path:
    """A folder of twenty scenes that no detector was trained on."""
    folder = tmp_path_factory.mktemp("scenes")
    dataset.make_scenes(folder, num_images=20, seed=977, workers=1)
    return folder


@pytest.fixture(scope="session")
def embedded():
    return open_detector("scenes")
