"""`pipeline check-manifest` counts, and names what is missing, double or damaged."""

import json

import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from pipeline.cli import main
from pipeline.manifests.manifest import load_manifest
from pipeline.parsing.stage import ParseCaptions
from pipeline.shards.records import Failure

CAPTIONS = [
    ("a.png", "train", ["A dog", "Two dogs"]),
    ("b.png", "train", ["A cat", "Two cats"]),
    ("c.png", "test", ["A cow"]),
]


@pytest.fixture
def data_set(tmp_path):
    (tmp_path / "images").mkdir()
    for name, _, _ in CAPTIONS:
        Image.new("RGB", (8, 6)).save(tmp_path / "images" / name)
    write_captions(tmp_path, CAPTIONS)
    manifest = {
        "name": "small",
        "title": "Small",
        "licence": "CC0",
        "citation": "none",
        "published": [],
        "image_pattern": "images/{file}",
        "caption_files": [{"file": "captions.json", "format": "karpathy-json"}],
        "splits": {"train": {"images": 2, "captions": 4}, "test": {"images": 1}},
    }
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(manifest))
    return tmp_path


def write_captions(folder, captions):
    images = [
        {"filename": name, "split": split, "sentences": [{"raw": text} for text in texts]}
        for name, split, texts in captions
    ]
    (folder / "captions.json").write_text(json.dumps({"images": images}))


def check(folder, *options):
    arguments = ["check-manifest", str(folder / "small.yaml"), "--root", str(folder), *options]
    return CliRunner().invoke(main, arguments)


def problems(folder, *options):
    result = check(folder, "--json", *options)
    report = json.loads(result.stdout)
    assert result.exit_code == (0 if report["ok"] else 1)
    return report["problems"]


def test_a_whole_data_set(data_set):
    result = check(data_set)
    assert result.exit_code == 0
    assert "complete" in result.stdout
    report = json.loads(check(data_set, "--json").stdout)
    assert report["ok"]
    assert report["images"]["train"] == {"expected": 2, "found": 2}
    assert report["captions"]["train"] == {"expected": 4, "found": 4}
    assert report["captions"]["test"] == {"expected": None, "found": 1}


def test_a_missing_image_is_named_and_so_are_its_captions(data_set):
    (data_set / "images" / "b.png").unlink()
    assert problems(data_set) == {
        "missing images": [str(data_set / "images" / "b.png")],
        "captions without an image": ["b.png#0", "b.png#1"],
        "wrong counts": ["split train: expected 2 images, found 1"],
    }
    result = check(data_set)
    assert result.exit_code == 1
    assert "1 missing images:" in result.stdout
    assert "2 captions without an image:" in result.stdout


def test_what_comes_twice(data_set):
    write_captions(data_set, [*CAPTIONS, ("c.png", "test", ["A bull"])])
    assert problems(data_set) == {
        "duplicate images": ["c.png (2 times)"],
        "duplicate captions": ["c.png#0 (2 times)"],
        "wrong counts": ["split test: expected 1 images, found 2"],
    }


def test_pictures_that_cannot_be_decoded(data_set):
    (data_set / "images" / "a.png").write_bytes(b"")
    content = (data_set / "images" / "b.png").read_bytes()
    (data_set / "images" / "b.png").write_bytes(content[: len(content) // 2])
    found = problems(data_set)
    assert list(found) == ["undecodable images"]
    assert [line.split(" ")[2] for line in found["undecodable images"]] == ["a.png", "b.png"]
    assert problems(data_set, "--no-decode") == {}
    assert len(problems(data_set, "--max-megapixels", "0.00001")["undecodable images"]) == 3


HARD_CAPTIONS = [
    "A dog runs on the grass.\n",
    "A man\trides a bike.",
    "A cat\r\nlies on a bed.",
    "...",
    "2 4 7",
    "Собака бежит по траве.",
    "word " * 600,
    "a\x07b",
    " ",
    "",
    "\u200b\ufeff",
    "<br/>",
    "a dog \ud83d",
    "w" * 20_001,
]


def test_captions_named_are_those_that_parse_captions_leaves_out(data_set):
    write_captions(data_set, [("a.png", "train", HARD_CAPTIONS), *CAPTIONS[1:]])
    named = problems(data_set)["captions that cannot be parsed"]
    captions = load_manifest(data_set / "small.yaml").captions(data_set)
    outcomes = ParseCaptions("embedded").process(captions, threads=1)
    left_out = [f"{o.id}: {o.reason}" for o in outcomes if isinstance(o, Failure)]
    assert named == left_out
    numbers = [int(line.split("#")[1].split(":")[0]) for line in named]
    assert numbers == [3, 4, 5, 6, 8, 9, 10, 11, 12, 13]


def test_bytes_that_are_not_utf8(data_set):
    content = (data_set / "captions.json").read_bytes().replace(b"A cow", b"A c\xf6w")
    (data_set / "captions.json").write_bytes(content)
    assert problems(data_set) == {
        "captions that cannot be parsed": ["c.png#0: the caption has a byte that is not UTF-8"]
    }


def test_a_split_that_the_manifest_does_not_name(data_set):
    write_captions(data_set, [*CAPTIONS[:2], ("c.png", "dev", ["A cow"])])
    assert problems(data_set)["wrong counts"] == [
        "split test: expected 1 images, found 0",
        "split dev: expected 0 images, found 1",
    ]


def test_a_root_or_a_caption_file_that_is_missing(data_set):
    result = CliRunner().invoke(
        main, ["check-manifest", str(data_set / "small.yaml"), "--root", str(data_set / "x")]
    )
    assert result.exit_code == 1
    assert "there is no such folder" in result.stderr
    (data_set / "captions.json").unlink()
    result = check(data_set)
    assert result.exit_code == 1
    assert "captions.json is missing" in result.stderr


def test_a_faulty_manifest_is_a_usage_error(data_set):
    (data_set / "small.yaml").write_text("name: Small\n")
    result = check(data_set)
    assert result.exit_code == 2
    assert "is not a manifest of a data set: name:" in result.stderr
