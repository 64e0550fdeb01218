"""A tiny world whose captions can be matched: colour regions in a row, captions that read them."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pipeline.detectors.stage import RegionStage
from pipeline.execution import ExecutionSettings, run_stage
from pipeline.manifests.manifest import load_manifest
from pipeline.parsing.stage import ParseCaptions
from pipeline.scenes.dataset import make_scenes
from pipeline.shards.records import CaptionSpan, CaptionTriple, ImageRegions, ParsedCaption
from pipeline.shards.writer import write_shard
from resg.jobs import train_run
from resg.presets import load_settings

COLOURS = ("red", "green", "blue", "white", "black", "pink")
FEATURE_WIDTH = 16
CPU = torch.device("cpu")
DETECTOR = {"detector": "test"}
PARSER = {"parser": "test"}


def make_image(image_id, colours, random):
    """One region a colour, from left to right."""
    table = np.random.default_rng(0).normal(size=(len(COLOURS), FEATURE_WIDTH))
    rows = [table[COLOURS.index(c)] + 0.1 * random.normal(size=FEATURE_WIDTH) for c in colours]
    left = np.arange(len(colours)) * 20.0
    boxes = np.stack([left, left * 0 + 10, left + 15, left * 0 + 30], axis=1)
    return ImageRegions(
        image_id,
        np.array(rows, np.float16),
        boxes.astype(np.float32),
        (40, 20 * len(colours)),
        labels=np.array([COLOURS.index(c) for c in colours], np.int32),
        scores=np.linspace(0.9, 0.5, len(colours)).astype(np.float16),
    )


def make_caption(caption_id, image_id, first, second):
    """`first beside second`, with arcs and one triple."""
    return ParsedCaption(
        caption_id,
        image_id,
        f"{first} beside {second}",
        forms=(first, "beside", second),
        lemmas=(first, "beside", second),
        pos=("NOUN", "ADP", "NOUN"),
        heads=(0, 2, 0),
        deprels=("ROOT", "case", "nmod"),
        objects=(CaptionSpan(0, 1, first), CaptionSpan(2, 3, second)),
        triples=(CaptionTriple(0, CaptionSpan(1, 2, "beside"), 1, None, "preposition"),),
    )


def make_split(split, num_images, seed):
    random = np.random.default_rng(seed)
    pairs = [(a, b, c) for a in COLOURS for b in COLOURS for c in COLOURS if len({a, b, c}) == 3]
    chosen = [pairs[i] for i in random.permutation(len(pairs))[:num_images]]
    images = [make_image(f"{split}-{i}", colours, random) for i, colours in enumerate(chosen)]
    captions = [
        make_caption(f"{split}-{i}#{k}", f"{split}-{i}", colours[k], colours[k + 1])
        for i, colours in enumerate(chosen)
        for k in range(2)
    ]
    return images, captions


def write_split(folder, number, split, images, captions, **changes):
    for kind, records, fingerprint in (
        ("regions", images, DETECTOR),
        ("captions", captions, PARSER),
    ):
        settings = {"settings": {}, "fingerprint": fingerprint, "split": split, **changes}
        write_shard(folder / f"{kind}-{number:05d}.h5", kind, records, **settings)


@pytest.fixture(scope="session")
def world():
    """What makes images, captions, splits and shards of the tiny world."""
    return SimpleNamespace(
        make_image=make_image,
        make_caption=make_caption,
        make_split=make_split,
        write_split=write_split,
        feature_width=FEATURE_WIDTH,
    )


@pytest.fixture(scope="session")
def train_until():
    """What trains a run and kills it: `train_until(shards, out, settings, step, device)`."""

    class KilledError(Exception):
        pass

    def train(shards, out, settings, step, device=CPU):
        def kill(event):
            if event["kind"] == "step" and event["step"] == step:
                raise KilledError

        with pytest.raises(KilledError):
            train_run(shards, out, settings, device, kill)

    return train


@pytest.fixture(scope="session")
def shards(tmp_path_factory):
    """Shards of the three splits: 48 images to train, 12 each to validate and test."""
    folder = tmp_path_factory.mktemp("shards")
    for number, (split, count) in enumerate((("train", 48), ("val", 12), ("test", 12))):
        write_split(folder, number, split, *make_split(split, count, number))
    return folder


@pytest.fixture(scope="session")
def picture_run(tmp_path_factory):
    """A run on the embedded detector and parser, and the folder of the scenes that it knows."""
    place = tmp_path_factory.mktemp("picture_run")
    make_scenes(place / "scenes", num_images=24, seed=3, workers=1)
    manifest = load_manifest(place / "scenes" / "scenes.yaml")
    execution = ExecutionSettings(workers=1, processes=False, progress=False)
    for stage, items in (
        (RegionStage.create("scenes"), manifest.images(place / "scenes")),
        (ParseCaptions("embedded"), manifest.captions(place / "scenes")),
    ):
        run_stage(stage, items, place / "shards", execution)
    changes = ("model.width=16", "model.graph.heads=4", "train.batch_size=8", "train.epochs=1")
    train_run(place / "shards", place / "run", load_settings("resg-gru", changes), CPU)
    pictures = sorted((place / "scenes").rglob("*.png"))
    return SimpleNamespace(folder=place / "run", shards=place / "shards", pictures=pictures)


@pytest.fixture(scope="session")
def browser():
    """Debian's Chromium, which .ci/run installs."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        yield opened
        opened.close()
