"""The options of stages, through a command as users call it: bad input, exit codes, resuming."""

import json

import click
import fake_stage
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from pipeline.cli import main
from pipeline.execution import run_stage
from pipeline.options import (
    caption_source,
    execution_options,
    image_source,
    max_megapixels_option,
    out_option,
)
from pipeline.shards.reader import ShardReader

MANIFEST = """
name: m
title: M
licence: CC0
citation: none
published: []
image_pattern: pictures/{file}
caption_files: [{file: captions.json, format: karpathy-json}]
splits: {train: {images: 2}, test: {images: 1}}
"""


@click.command()
@image_source
@out_option
@max_megapixels_option
@execution_options(shard_size=2, processes=False)
def mean_colour(images, out, max_megapixels, execution):
    report = run_stage(fake_stage.MeanColourStage(max_megapixels), images, out, execution)
    click.echo(report.summary())


@click.command()
@caption_source
def count_captions(captions):
    click.echo(f"{len(captions)} captions, the first of {captions[0].image_id}")


@pytest.fixture
def run(monkeypatch):
    commands = {"mean-colour": mean_colour, "count-captions": count_captions}
    monkeypatch.setattr(main, "list_commands", lambda ctx: list(commands))
    monkeypatch.setattr(main, "get_command", lambda ctx, name: commands.get(name))
    return lambda *arguments: CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    for i, name in enumerate(["b.jpg", "a.PNG", "more/c.webp"]):
        Image.new("RGB", (8, 6), (i * 40, 0, 0)).save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    return folder


def assert_error(result, exit_code, *said):
    assert result.exit_code == exit_code, result.output
    message = result.stderr[result.stderr.index("Error: ") :]
    assert all(words in message for words in said), message
    assert len(message.strip().splitlines()) <= 3
    assert "Traceback" not in result.output


def test_a_folder_of_pictures_needs_no_manifest(run, pictures, tmp_path):
    result = run("mean-colour", "--images", pictures, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    reader = ShardReader(tmp_path / "out", "regions")
    assert reader.ids == ["a.PNG", "b.jpg", "more/c.webp"]
    assert reader[0].image_size == (6, 8)
    assert "3 images in 2 shards" in result.stdout


def test_one_picture_is_taken_and_what_is_passed_over_is_said(run, pictures, tmp_path):
    result = run("mean-colour", "--images", pictures / "b.jpg", "--out", tmp_path / "one")
    assert result.exit_code == 0, result.output
    assert ShardReader(tmp_path / "one", "regions").ids == ["b.jpg"]
    result = run("mean-colour", "--images", pictures, "--out", tmp_path / "out")
    assert f"passed over in {pictures}: .txt: 1 (notes.txt)\n" in result.stderr


def test_a_manifest_gives_the_same_pictures_with_their_splits(run, pictures, tmp_path):
    images = [
        {"filename": name, "split": split, "sentences": [{"raw": "a red field"}]}
        for name, split in [("a.PNG", "train"), ("b.jpg", "test"), ("more/c.webp", "train")]
    ]
    (tmp_path / "captions.json").write_text(json.dumps({"images": images}))
    (tmp_path / "m.yaml").write_text(MANIFEST)
    source = ("--manifest", tmp_path / "m.yaml", "--root", tmp_path)
    result = run("mean-colour", *source, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert ShardReader(tmp_path / "out", "regions", "train").ids == ["a.PNG", "more/c.webp"]
    result = run("mean-colour", *source, "--split", "test", "--out", tmp_path / "test")
    assert result.exit_code == 0, result.output
    assert ShardReader(tmp_path / "test", "regions").ids == ["b.jpg"]
    result = run("mean-colour", *source, "--split", "tset", "--out", tmp_path / "x")
    assert_error(result, 2, "'tset'", "train, test")
    result = run("count-captions", *source)
    assert result.stdout == "3 captions, the first of a.PNG\n"


def test_real_captions_need_no_manifest(run, shared_data):
    result = run("count-captions", "--captions", shared_data / "photos_fullres" / "captions.tsv")
    assert result.stdout.startswith("240 captions")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "none of them"),
        (["--images", "x", "--manifest", "m", "--root", "r"], "--manifest and --root and --images"),
        (["--manifest", "m"], "got --manifest."),
    ],
)
def test_a_source_that_is_not_clear_is_a_usage_error(run, tmp_path, options, said):
    assert_error(run("mean-colour", *options, "--out", tmp_path / "out"), 2, said)


@pytest.mark.parametrize(
    "options",
    [
        ["--workers", 2, "--scheduler", "tcp://x:1"],
        ["--overwrite", "--retry-failed"],
        ["--workers", 2, "--gpus", 3],
    ],
)
def test_options_that_exclude_each_other_are_a_usage_error(run, pictures, tmp_path, options):
    result = run("mean-colour", "--images", pictures, "--out", tmp_path / "out", *options)
    assert_error(result, 2, "cannot be combined")


def test_a_missing_folder_and_an_empty_one(run, tmp_path):
    result = run("mean-colour", "--images", tmp_path / "x", "--out", tmp_path / "out")
    assert_error(result, 1, "no such folder")
    (tmp_path / "empty").mkdir()
    result = run("mean-colour", "--images", tmp_path / "empty", "--out", tmp_path / "out")
    assert_error(result, 1, "no picture in", ".jpg")


BAD = {
    "zero.jpg": (lambda file: file.write_bytes(b""), "is empty (0 bytes)"),
    "cut.jpg": (lambda file: file.write_bytes(noise_jpeg(file)[:-200]), "truncated"),
    "text.jpg": (lambda file: file.write_text("hello"), "is it a picture?"),
    "huge.png": (lambda file: Image.new("1", (10_000, 10_000)).save(file), "100 megapixels"),
}


def noise_jpeg(file):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(file)
    return file.read_bytes()


@pytest.mark.parametrize("name", BAD)
def test_a_bad_picture_is_skipped_or_ends_the_run_and_can_be_mended(run, pictures, tmp_path, name):
    spoil, said = BAD[name]
    spoil(pictures / name)
    command = ("mean-colour", "--images", pictures, "--out", tmp_path / "out")

    stopped = run(*command, "--on-error", "stop")
    assert_error(stopped, 1, name, said, "--on-error skip")
    assert ".." not in stopped.stderr

    result = run(*command)
    assert result.exit_code == 0, result.output
    *_, listed, last = result.stdout.splitlines()
    assert listed.startswith(f"{name}: the picture {name}")
    assert last.startswith("1 of 4 images failed and were skipped; pipeline info --failed")

    Image.new("RGB", (8, 6)).save(pictures / name)
    result = run(*command, "--retry-failed")
    assert result.exit_code == 0, result.output
    assert name in ShardReader(tmp_path / "out", "regions").ids


def test_an_id_that_comes_twice_is_refused(run, pictures, tmp_path):
    image = {"filename": "a.PNG", "split": "train", "sentences": [{"raw": "a red field"}]}
    (tmp_path / "captions.json").write_text(json.dumps({"images": [image, image]}))
    (tmp_path / "m.yaml").write_text(MANIFEST)
    source = ("--manifest", tmp_path / "m.yaml", "--root", tmp_path)
    result = run("mean-colour", *source, "--out", tmp_path / "out")
    assert_error(result, 1, "1 are repeated, the first 'a.PNG' (2 times in split train)")
    content = {"images": [image, image | {"split": "val"}]}
    (tmp_path / "captions.json").write_text(json.dumps(content))
    result = run("mean-colour", *source, "--out", tmp_path / "out")
    assert_error(result, 1, "(2 times in split train and val)", "image_pattern has {folder}")


def test_a_folder_that_may_not_be_made(run, pictures, tmp_path):
    (tmp_path / "file").touch()
    result = run("mean-colour", "--images", pictures, "--out", tmp_path / "file" / "out")
    assert_error(result, 1, "Not a directory")
    result = run("mean-colour", "--images", pictures, "--out", tmp_path / "file")
    assert_error(result, 2, "is a file")


def test_the_limit_of_megapixels_can_be_raised(run, pictures, tmp_path):
    Image.new("1", (1_000, 900)).save(pictures / "huge.png")
    command = ("mean-colour", "--images", pictures, "--out", tmp_path / "out")
    assert_error(
        run(*command, "--max-megapixels", 0.5, "--on-error", "stop"),
        1,
        "huge.png",
        "the limit is 0.5",
    )
    assert run(*command, "--max-megapixels", 1).exit_code == 0


@pytest.mark.parametrize("mode", ["CMYK", "L", "I;16", "LA", "P", "1"])
def test_pictures_of_other_colour_spaces_are_no_bad_pictures(run, pictures, tmp_path, mode):
    name = "other.jpg" if mode in ("CMYK", "L") else "other.png"
    Image.new(mode, (8, 6)).save(pictures / name)
    result = run("mean-colour", "--images", pictures, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "4 images" in result.stdout


def test_the_folder_of_another_run_is_refused(run, pictures, tmp_path):
    command = ("mean-colour", "--images", pictures, "--out", tmp_path / "out")
    assert run(*command).exit_code == 0
    result = run(*command, "--shard-size", 3)
    assert_error(result, 1, "fingerprint.shard_size: 3 here, 2 there", "--overwrite")
    assert run(*command, "--shard-size", 3, "--overwrite").exit_code == 0


def test_the_json_log_goes_to_standard_output(run, pictures, tmp_path):
    result = run("mean-colour", "--images", pictures, "--out", tmp_path / "out", "--log-json", "-")
    events = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    assert [event["event"] for event in events] == ["start", "shard", "shard", "end"]


def test_captions_that_are_no_captions(run, tmp_path):
    for content, said in [
        (b"", "has no captions"),
        (b"a.jpg\tno number\n", "line 1: expected `file#k<TAB>caption`"),
        (b"a.jpg#0\tfine\na.jpg#1 no tab\n", "line 2"),
        (b"a.jpg#0\tfine\na.jpg#1\tcaf\xe9\n", "line 2 has the byte 0xe9"),
    ]:
        (tmp_path / "c.tsv").write_bytes(content)
        assert_error(run("count-captions", "--captions", tmp_path / "c.tsv"), 1, said)
    assert_error(run("count-captions", "--captions", tmp_path / "x.tsv"), 1, "is missing")
    (tmp_path / "c.tsv.gz").write_bytes(b"not gzip")
    assert_error(run("count-captions", "--captions", tmp_path / "c.tsv.gz"), 1, "gzip")
