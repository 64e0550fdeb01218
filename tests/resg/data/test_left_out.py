"""Captions of images without regions: training and scoring go on as if they were not there."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from resg.data.splits import LeftOut, SplitReaders
from resg.errors import ResgError
from resg.jobs import evaluate_runs, resume_run, train_run
from resg.presets import load_settings
from resg.run import load
from resg.training.run_log import read_metrics

CPU = torch.device("cpu")
SETTINGS = load_settings(
    "resg-gru",
    (
        "model.width=16",
        "model.graph.heads=4",
        "model.text.word_width=8",
        "train.batch_size=8",
        "train.epochs=2",
    ),
)
SIZES = {"train": 24, "val": 8, "test": 8}
LOST = (2, 5)
COUNTS = {"captions": 4, "images": 2}


def write(world, folder, change):
    """The three splits, after `change(images, captions)`."""
    for number, (split, size) in enumerate(SIZES.items()):
        images, captions = world.make_split(split, size, number)
        # a word that only a caption of a lost image has
        captions[4] = replace(captions[4], forms=("purple", *captions[4].forms[1:]))
        world.write_split(folder, number, split, *change(images, captions))
    return folder


def is_kept(image_id):
    return int(image_id.split("-")[1]) not in LOST


def skipped(images, captions):
    """The detector skipped the lost images."""
    return [image for image in images if is_kept(image.image_id)], captions


def empty(images, captions):
    """The detector found nothing in the lost images."""
    arrays = ("features", "boxes", "labels", "scores")

    def bare(image):
        return replace(image, **{name: getattr(image, name)[:0] for name in arrays})

    return [image if is_kept(image.image_id) else bare(image) for image in images], captions


def never_there(images, captions):
    """Nobody ever had the lost images."""
    kept = [caption for caption in captions if is_kept(caption.image_id)]
    return skipped(images, kept)


@pytest.fixture(scope="module")
def runs(world, tmp_path_factory):
    """A run on each of the three kinds of shards, all events of its training, its shards."""
    folder = tmp_path_factory.mktemp("left-out")
    made = {}
    for change in (skipped, empty, never_there):
        shards = write(world, folder / f"{change.__name__}-shards", change)
        events = []
        train_run(shards, folder / change.__name__, SETTINGS, CPU, events.append)
        made[change.__name__] = (folder / change.__name__, events, shards)
    return made


def figures_of(folder):
    return [
        {name: value for name, value in event.items() if name != "pairs_per_second"}
        for event in read_metrics(folder)
    ]


@pytest.mark.parametrize("kind", ["skipped", "empty"])
def test_training_is_bit_equal_to_training_on_what_is_left(kind, runs):
    assert figures_of(runs[kind][0]) == figures_of(runs["never_there"][0])
    vocabularies = [(runs[name][0] / "vocabulary.json").read_text() for name in (kind, "skipped")]
    assert vocabularies[0] == vocabularies[1]
    assert "purple" not in vocabularies[0]


@pytest.mark.parametrize("kind", ["skipped", "empty"])
def test_the_start_of_training_counts_what_is_left_out(kind, runs):
    start = next(event for event in runs[kind][1] if event["kind"] == "start")
    assert start["data"] == {
        "train": {"images": 22, "captions": 44, "left_out": COUNTS},
        "val": {"images": 6, "captions": 12, "left_out": COUNTS},
    }
    whole = next(event for event in runs["never_there"][1] if event["kind"] == "start")
    assert whole["data"]["train"]["left_out"] == {"captions": 0, "images": 0}


@pytest.mark.parametrize("kind", ["skipped", "empty"])
def test_evaluation_gives_the_figures_of_what_is_left_and_counts_the_rest(kind, runs):
    expected = evaluate_runs([runs["never_there"][0]], "test", "full", CPU)
    figures = evaluate_runs([runs[kind][0]], "test", "full", CPU)
    assert figures.pop("left_out") == COUNTS
    assert expected.pop("left_out") == {"captions": 0, "images": 0}
    assert figures == expected
    assert (figures["images"], figures["captions"]) == (6, 12)


@pytest.mark.parametrize("kind", ["skipped", "empty"])
def test_a_loaded_run_gives_what_is_scored(kind, runs):
    run = load(runs[kind][0], device="cpu")
    images, captions = run.regions("test"), run.captions("test")
    ids = [image.image_id for image in images]
    assert ids == [f"test-{number}" for number in range(8) if number not in LOST]
    assert [caption.image_id for caption in captions] == np.repeat(ids, 2).tolist()


def test_what_is_left_out_is_told_by_id(runs):
    readers = SplitReaders.open(runs["skipped"][2], "test")
    expected = LeftOut(("test-2#0", "test-2#1", "test-5#0", "test-5#1"), ("test-2", "test-5"))
    assert readers.left_out == expected


def test_a_run_is_resumed_on_shards_that_leave_out_the_same_alone(
    runs, world, train_until, tmp_path
):
    shards = write(world, tmp_path / "shards", skipped)
    train_until(shards, tmp_path / "run", SETTINGS, 8)
    images, captions = world.make_split("val", 8, 1)
    for path in shards.glob("*-00001.*"):
        path.unlink()
    world.write_split(shards, 1, "val", images[:5], captions)
    with pytest.raises(ResgError, match=r"without 4 captions of 2 images .* 'val'.* 6 of 3"):
        resume_run(tmp_path / "run", CPU)
    assert resume_run(tmp_path / "run", CPU, runs["skipped"][2]).rsum == pytest.approx(
        figures_of(runs["skipped"][0])[-1]["rsum"]
    )
    assert figures_of(tmp_path / "run") == figures_of(runs["skipped"][0])
