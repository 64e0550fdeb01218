"""The files that make-scenes writes, and what it refuses."""

from collections import Counter

import pytest
from click.testing import CliRunner
from PIL import Image

from pipeline.cli import main
from pipeline.manifests.manifest import load_manifest
from pipeline.scenes.dataset import make_scenes
from pipeline.scenes.layout import CORE_RELATIONS


def files_below(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def run(*arguments):
    return CliRunner().invoke(main, ["make-scenes", *map(str, arguments)])


def test_same_seed_gives_same_bytes_for_any_number_of_workers(tmp_path):
    make_scenes(tmp_path / "one", num_images=44, seed=5, workers=1)
    make_scenes(tmp_path / "two", num_images=44, seed=5, workers=2)
    assert files_below(tmp_path / "one") == files_below(tmp_path / "two")


def test_other_seed_gives_other_pictures(tmp_path, scenes):
    make_scenes(tmp_path, num_images=20, seed=4, workers=1)
    other = files_below(tmp_path / "images")
    ours = files_below(scenes.path / "images")
    assert not set(other.values()) & set(ours.values())


def test_command_writes_a_data_set_that_check_manifest_finds_whole(tmp_path):
    out = tmp_path / "scenes"
    result = run("--out", out, "--images", 20, "--seed", 2, "--workers", 1)
    assert result.exit_code == 0, result.output
    assert "16 train, 2 val, 2 test images" in result.output
    checked = CliRunner().invoke(
        main, ["check-manifest", str(out / "scenes.yaml"), "--root", str(out)]
    )
    assert checked.exit_code == 0, checked.output


def test_manifest_lists_each_image_and_caption(scenes):
    manifest = load_manifest(scenes.path / "scenes.yaml")
    images = manifest.images(scenes.path)
    captions = manifest.captions(scenes.path)
    assert Counter(item.split for item in images) == {"train": 80, "val": 10, "test": 10}
    assert len(captions) == 500
    for item in images[:10]:
        with Image.open(item.path) as picture:
            assert (picture.size, picture.mode) == ((224, 224), "RGB")
    stated = {pair["caption_id"]: pair["right"] for pair in scenes.hard_pairs}
    texts = {item.caption_id: item.text for item in captions}
    assert stated.items() <= texts.items()
    assert {p["wrong_caption_id"]: p["wrong"] for p in scenes.hard_pairs}.items() <= texts.items()


def test_twins_share_their_split_and_each_split_has_each_relation_as_often(scenes):
    split = {image["file_name"]: image["split"] for image in scenes.instances["images"]}
    relations = {name: Counter() for name in ("train", "val", "test")}
    for image in scenes.instances["images"]:
        assert split[image["twin"]] == image["split"]
        relations[image["split"]][image["core_relation"]] += 1
    assert relations["test"] == relations["val"] == dict.fromkeys(CORE_RELATIONS, 2)
    assert relations["train"] == dict.fromkeys(CORE_RELATIONS, 16)


def test_instances_are_valid_coco(scenes):
    content = scenes.instances
    annotation_ids = [annotation["id"] for annotation in content["annotations"]]
    assert len(set(annotation_ids)) == len(annotation_ids)
    assert len(scenes.image_ids) == len(content["images"]) == 100
    groups = {attribute["name"]: attribute["group"] for attribute in content["attributes"]}
    for annotation in content["annotations"]:
        image = scenes.image_ids[annotation["image_id"]]
        x, y, width, height = annotation["bbox"]
        assert x >= 0
        assert y >= 0
        assert x + width <= image["width"]
        assert y + height <= image["height"]
        assert 0 < annotation["area"] <= width * height
        assert annotation["category_id"] in scenes.shapes
        of_group = [groups[name] for name in annotation["attributes"]]
        assert of_group == ["size", "texture", "colour", "sight"]
        assert ("covered" in annotation["attributes"]) == (annotation["visible"] < 0.99)
    image_of = {a["id"]: a["image_id"] for a in content["annotations"]}
    for relation in content["relations"]:
        assert relation["predicate"] in content["predicates"]
        for end in ("subject_id", "object_id"):
            assert image_of[relation[end]] == relation["image_id"]


def test_second_run_of_the_same_writes_nothing(tmp_path):
    assert run("--out", tmp_path, "--images", 20, "--workers", 1).exit_code == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    result = run("--out", tmp_path, "--images", 20)
    assert result.exit_code == 0
    assert "already made" in result.output
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_folder_of_another_run_is_refused(scenes):
    result = run("--out", scenes.path, "--images", 100, "--seed", 4)
    assert result.exit_code == 1
    assert "images 100, seed 3; this run asks for" in result.output
    assert "--out" in result.output


def test_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("three years of work")
    result = run("--out", tmp_path, "--images", 20)
    assert result.exit_code == 1
    assert "expected a new or empty folder" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("number", "advice"), [(18, "--images 20"), (0, "--images 20"), (-4, "--images 20"), (21, "22")]
)
def test_number_that_cannot_be_split_is_a_usage_error(tmp_path, number, advice):
    result = run("--out", tmp_path / "scenes", "--images", number)
    assert result.exit_code == 2
    assert advice in result.output
    assert not (tmp_path / "scenes").exists()


def test_file_in_the_place_of_the_folder_is_refused(tmp_path):
    place = tmp_path / "file"
    place.write_text("")
    result = run("--out", place, "--images", 20)
    assert result.exit_code == 1
    assert "expected a folder" in result.output


def test_place_that_cannot_be_written_is_refused_with_the_reason(tmp_path):
    (tmp_path / "file").write_text("")
    result = run("--out", tmp_path / "file" / "scenes", "--images", 20)
    assert result.exit_code == 1
    assert "cannot write" in result.output
    assert "Traceback" not in result.output


def test_damaged_instances_are_named(tmp_path):
    (tmp_path / "scenes.yaml").write_text("name: scenes\n")
    (tmp_path / "instances.json").write_text("{}")
    result = run("--out", tmp_path, "--images", 20)
    assert result.exit_code == 1
    assert "instances.json" in result.output


def test_captions_json_sentence_ids_are_unique(scenes):
    ids = [s["sentid"] for image in scenes.captions["images"] for s in image["sentences"]]
    assert sorted(ids) == list(range(500))
