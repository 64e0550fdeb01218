"""Manifests of data sets and detectors, caption formats, and sources without a manifest."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import DataError, SettingsError
from pipeline.image_ids import join_ids
from pipeline.manifests.caption_files import read_captions
from pipeline.manifests.caption_text import caption_fault
from pipeline.manifests.manifest import Manifest, file_captions, load_manifest
from pipeline.manifests.picture_folder import folder_images

MANIFESTS = Path(__file__).parents[3] / "data_manifests"


def manifest(**changed):
    content = {
        "name": "small",
        "title": "Small",
        "licence": "CC0",
        "citation": "none",
        "published": [],
        "image_pattern": "images/{file}",
        "caption_files": [{"file": "captions.json", "format": "karpathy-json"}],
        "splits": {"train": {"images": 2, "captions": 4}, "test": {"images": 1}},
    }
    return Manifest.model_validate(content | changed)


@pytest.mark.parametrize("name", ["flickr8k", "flickr30k", "mscoco", "scenes"])
def test_the_manifests_of_the_project_are_whole(name):
    read = load_manifest(MANIFESTS / f"{name}.yaml")
    assert read.name == name
    assert {"train", "val", "test"} <= set(read.splits)


def test_karpathy_counts():
    counts = {
        name: {s: c.images for s, c in load_manifest(MANIFESTS / f"{name}.yaml").splits.items()}
        for name in ("flickr8k", "flickr30k", "mscoco")
    }
    assert counts["flickr8k"] == {"train": 6000, "val": 1000, "test": 1000}
    assert counts["flickr30k"] == {"train": 29000, "val": 1014, "test": 1000}
    assert sum(counts["flickr30k"].values()) == 31014
    assert counts["mscoco"] == {"train": 82783, "restval": 30504, "val": 5000, "test": 5000}
    assert sum(counts["mscoco"].values()) == 123287


@pytest.mark.real_data
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_flickr30k_counts_are_those_of_the_real_captions(shared_data, split):
    captions = file_captions(shared_data / "captions" / f"flickr30k_{split}.tsv.gz")
    expected = load_manifest(MANIFESTS / "flickr30k.yaml").splits[split]
    assert len(captions) == expected.captions
    assert len({caption.image_id for caption in captions}) == expected.images


@pytest.mark.parametrize("folder", ["photos_224", "photos_fullres"])
@pytest.mark.real_data
def test_real_photographs_and_captions_meet_without_a_manifest(shared_data, folder):
    images = folder_images(shared_data / folder / "images")
    captions = file_captions(shared_data / folder / "captions.tsv")
    assert {image.image_id for image in images} == {caption.image_id for caption in captions}
    assert len(captions) == 5 * len(images)
    assert len({caption.id for caption in captions}) == len(captions)


def test_karpathy_json(tmp_path):
    content = {
        "images": [
            {"filename": "a.jpg", "filepath": "val2014", "split": "train",
             "sentences": [{"raw": "A dog ."}, {"raw": "Two dogs"}]},
            {"filename": "b.jpg", "filepath": "train2014", "split": "test",
             "sentences": [{"raw": "A cat"}]},
        ]
    }  # fmt: skip
    (tmp_path / "captions.json").write_text(json.dumps(content))
    small = manifest(image_pattern="{folder}/{split}/{file}")
    images = small.images(tmp_path)
    assert [(i.image_id, i.path, i.split) for i in images] == [
        ("a.jpg", tmp_path / "val2014/train/a.jpg", "train"),
        ("b.jpg", tmp_path / "train2014/test/b.jpg", "test"),
    ]
    assert [(c.caption_id, c.image_id, c.text, c.split) for c in small.captions(tmp_path)] == [
        ("a.jpg#0", "a.jpg", "A dog .", "train"),
        ("a.jpg#1", "a.jpg", "Two dogs", "train"),
        ("b.jpg#0", "b.jpg", "A cat", "test"),
    ]


def karpathy(*images):
    """Karpathy's JSON of (folder, file, split), a caption each."""
    keys = ("filepath", "filename", "split")
    return json.dumps(
        {"images": [dict(zip(keys, i, strict=True), sentences=[{"raw": i[1]}]) for i in images]}
    )


SAME_NAMES = [("cats", "1.jpg", "train"), ("dogs", "1.jpg", "train"), ("dogs", "2.jpg", "val")]


@pytest.mark.parametrize(
    ("pattern", "ids"),
    [
        ("{folder}/{file}", ["cats/1.jpg", "dogs/1.jpg", "dogs/2.jpg"]),
        ("pictures/{folder}-{file}", [f"pictures/{n}.jpg" for n in ("cats-1", "dogs-1", "dogs-2")]),
        (None, ["cats/1.jpg", "dogs/1.jpg", "dogs/2.jpg"]),
    ],
)
def test_pictures_of_one_name_in_two_folders_are_two_images(tmp_path, pattern, ids):
    (tmp_path / "captions.json").write_text(karpathy(*SAME_NAMES))
    small = manifest(image_pattern=pattern)
    captions = small.captions(tmp_path)
    assert [caption.image_id for caption in captions] == ids
    assert [caption.id for caption in captions] == [f"{id_}#0" for id_ in ids]
    assert [caption.text for caption in captions] == ["1.jpg", "1.jpg", "2.jpg"]
    if pattern is not None:
        images = small.images(tmp_path)
        assert [image.image_id for image in images] == ids
        assert [image.path for image in images] == [tmp_path / id_ for id_ in ids]


def test_pictures_of_one_name_in_two_splits_are_two_images(tmp_path):
    (tmp_path / "captions.json").write_text(karpathy(("", "1.jpg", "train"), ("", "1.jpg", "test")))
    images = manifest(image_pattern="{split}/{file}").images(tmp_path)
    assert [image.image_id for image in images] == ["train/1.jpg", "test/1.jpg"]


def test_file_names_stay_ids_where_each_is_of_one_picture(tmp_path):
    images = [("train2014", "1.jpg", "train"), ("val2014", "2.jpg", "test")]
    (tmp_path / "captions.json").write_text(karpathy(*images))
    captions = manifest(image_pattern="{folder}/{file}").captions(tmp_path)
    assert [caption.image_id for caption in captions] == ["1.jpg", "2.jpg"]


def test_coco_json(tmp_path):
    content = {
        "images": [{"id": 7, "file_name": "a.jpg"}, {"id": 3, "file_name": "b.jpg"}],
        "annotations": [
            {"id": 1, "image_id": 3, "caption": "first of b"},
            {"id": 2, "image_id": 7, "caption": "first of a"},
            {"id": 3, "image_id": 3, "caption": "second of b"},
        ],
    }
    (tmp_path / "captions_val2014.json").write_text(json.dumps(content))
    files = [{"file": "captions_val2014.json", "format": "coco-json", "split": "test"}]
    captions = manifest(caption_files=files).captions(tmp_path)
    assert [(c.id, c.text, c.split) for c in captions] == [
        ("a.jpg#0", "first of a", "test"),
        ("b.jpg#0", "first of b", "test"),
        ("b.jpg#1", "second of b", "test"),
    ]


def test_scan_txt(tmp_path):
    (tmp_path / "test_caps.txt").write_text("a 0\na 1\nb 0\nb 1\n")
    (tmp_path / "ids.txt").write_text("11\n11\n12\n12\n")
    file = {"file": "test_caps.txt", "format": "scan-txt", "split": "test", "captions_per_image": 2}
    scan = manifest(image_pattern=None, caption_files=[file])
    assert [c.id for c in scan.captions(tmp_path)] == [
        "test:0#0", "test:0#1", "test:1#0", "test:1#1"]  # fmt: skip
    scan = manifest(image_pattern=None, caption_files=[file | {"ids": "ids.txt"}])
    assert [c.id for c in scan.captions(tmp_path)] == ["11#0", "11#1", "12#0", "12#1"]
    with pytest.raises(SettingsError, match="captions but no pictures"):
        scan.images(tmp_path)
    scan = manifest(caption_files=[file | {"captions_per_image": 3}])
    with pytest.raises(DataError, match="4 lines, which is no multiple of 3"):
        scan.captions(tmp_path)


def test_token_tsv_is_unpacked_and_grouped_by_image(tmp_path):
    lines = "a.jpg#0\tA dog\r\nb.jpg#0\tA\u2028cat\x0bsits\na.jpg#1\tTwo\tdogs\n"
    (tmp_path / "c.tsv.gz").write_bytes(gzip.compress(lines.encode()))
    captions = file_captions(tmp_path / "c.tsv.gz")
    assert [(c.id, c.text) for c in captions] == [
        ("a.jpg#0", "A dog"),
        ("a.jpg#1", "Two\tdogs"),
        ("b.jpg#0", "A\u2028cat\x0bsits"),
    ]
    assert {c.split for c in captions} == {"all"}


texts = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\n\r"))


@given(st.lists(texts, min_size=1, max_size=8))
def test_any_text_comes_back_from_a_tsv(tmp_path_factory, captions):
    file = tmp_path_factory.mktemp("tsv") / "c.tsv"
    lines = "".join(f"a.jpg#{k}\t{text}\n" for k, text in enumerate(captions))
    file.write_bytes(lines.encode())
    assert [caption.text for caption in file_captions(file)] == captions


def test_a_file_of_another_format_is_named(tmp_path):
    (tmp_path / "captions.json").write_text('{"annotations": []}')
    with pytest.raises(DataError, match=r"captions\.json is JSON but not karpathy-json.*'images'"):
        manifest().captions(tmp_path)
    (tmp_path / "captions.json").write_text("[1, 2")
    with pytest.raises(DataError, match="is not JSON"):
        manifest().captions(tmp_path)
    (tmp_path / "captions.json").unlink()
    with pytest.raises(DataError, match=r"captions\.json is missing"):
        manifest().captions(tmp_path)


@pytest.mark.parametrize("caption", [None, 5, ["A dog"]])
def test_a_caption_that_is_no_text_is_named(tmp_path, caption):
    image = {"filename": "a.jpg", "split": "train", "sentences": [{"raw": "A"}, {"raw": caption}]}
    (tmp_path / "captions.json").write_text(json.dumps({"images": [image]}))
    with pytest.raises(DataError, match=r"caption 1 of a\.jpg is .*, expected text"):
        manifest().captions(tmp_path)


def test_bytes_that_are_not_utf8_are_refused_or_kept_apart(tmp_path):
    (tmp_path / "c.tsv").write_bytes(b"a.jpg#0\tcaf\xe9\n")
    with pytest.raises(DataError, match="line 1 has the byte 0xe9 at offset 11"):
        file_captions(tmp_path / "c.tsv")
    (image,) = read_captions(tmp_path / "c.tsv", "token-tsv", keep_undecodable=True)
    assert caption_fault(image.captions[0]) == "the caption has a byte that is not UTF-8"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"licence": " "}, "licence"),
        ({"title": None}, "title"),
        ({"sizes": 3}, "sizes"),
        ({"splits": {"train": {"images": -1}}}, "splits.train.images"),
        ({"image_pattern": "images/{name}"}, "not 'name'"),
        ({"image_pattern": "images/a.jpg"}, "needs {file}"),
        ({"caption_files": [{"file": "c.txt", "format": "excel"}]}, "caption_files.0.format"),
        ({"caption_files": [{"file": "c", "format": "token-tsv", "split": "dev"}]}, "'dev'"),
    ],
)
def test_a_faulty_manifest_names_its_fault(tmp_path, changed, said):
    content = manifest().model_dump(mode="json") | changed
    (tmp_path / "m.yaml").write_text(json.dumps(content))
    with pytest.raises(SettingsError) as refusal:
        load_manifest(tmp_path / "m.yaml")
    assert said in str(refusal.value)
    assert len(str(refusal.value).splitlines()) == 1


@pytest.mark.parametrize("content", ["a: [1", "- 1", "", "\x00"])
def test_what_is_no_manifest(tmp_path, content):
    (tmp_path / "m.yaml").write_text(content)
    with pytest.raises(SettingsError, match=r"m\.yaml"):
        load_manifest(tmp_path / "m.yaml")
    with pytest.raises(SettingsError, match="no such file"):
        load_manifest(tmp_path / "x.yaml")


NFC, NFD = "caf\u00e9.jpg", "cafe\u0301.jpg"


@pytest.mark.parametrize("in_captions", [NFC, NFD])
@pytest.mark.parametrize("on_disk", [NFC, NFD])
def test_names_of_composed_and_decomposed_letters_are_one(tmp_path, on_disk, in_captions):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / on_disk).touch()
    (tmp_path / "c.tsv").write_text(f"{in_captions}#0\tA dog\n", encoding="utf-8")
    (caption,) = file_captions(tmp_path / "c.tsv")
    (image,) = folder_images(tmp_path / "images")
    assert join_ids([caption.image_id], [image.image_id]) == {in_captions: on_disk}
    files = [{"file": "c.tsv", "format": "token-tsv", "split": "test"}]
    (listed,) = manifest(caption_files=files).images(tmp_path)
    assert (listed.image_id, listed.path.name) == (in_captions, on_disk)
    assert listed.path.is_file()
