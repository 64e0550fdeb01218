"""A small generated data set, made once, and scenes with their captions that are never drawn."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from pipeline.scenes.captions import Caption, write_captions
from pipeline.scenes.dataset import make_scenes
from pipeline.scenes.layout import CORE_RELATIONS, Twins, make_twins


@dataclass(frozen=True)
class ScenesFolder:
    path: Path
    captions: dict
    instances: dict
    hard_pairs: list

    @property
    def image_ids(self):
        return {image["id"]: image for image in self.instances["images"]}

    @property
    def shapes(self):
        return {category["id"]: category["name"] for category in self.instances["categories"]}

    def objects(self, file_name):
        numbers = {image["file_name"]: image["id"] for image in self.instances["images"]}
        return [a for a in self.instances["annotations"] if a["image_id"] == numbers[file_name]]


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """100 images, 10 of them in test and 10 in val."""
    path = tmp_path_factory.mktemp("generated") / "scenes"
    make_scenes(path, num_images=100, seed=3, workers=1)
    return ScenesFolder(
        path,
        json.loads((path / "captions.json").read_text()),
        json.loads((path / "instances.json").read_text()),
        json.loads((path / "hard_pairs.json").read_text())["pairs"],
    )


@pytest.fixture(scope="session")
def captioned_twins() -> list[tuple[Twins, tuple[list[Caption], list[Caption]]]]:
    """Twelve pairs of twins for each core relation, not drawn."""
    found = []
    for number, relation in enumerate(CORE_RELATIONS * 12):
        rng = np.random.default_rng([11, number])
        twins = make_twins(rng, relation)
        found.append((twins, write_captions(rng, twins)))
    return found
