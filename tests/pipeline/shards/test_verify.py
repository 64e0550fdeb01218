"""Each kind of damage is planted and must be found; a sound folder must pass."""

import json
import os
import shutil
import sys

import h5py
import numpy as np
import pytest

from pipeline.errors import DataError, SettingsError
from pipeline.fingerprint import file_digest
from pipeline.shards.hdf5 import read_damaged_layout, read_layout
from pipeline.shards.records import Failure
from pipeline.shards.sidecar import read_sidecar, shard_path, sidecar_path
from pipeline.shards.verify import verify_shards
from pipeline.shards.writer import write_shard, write_sidecar


@pytest.mark.parametrize("full", [False, True])
def test_sound_shards_pass(shards, full):
    report = verify_shards(shards, full=full)
    assert report.ok, report.to_table()
    assert report.records == {"regions": 10, "captions": 20}
    assert "no problem found" in report.to_table()
    assert json.loads(report.to_json())["ok"] is True


def reseal(shard, **changes):
    """Write the sidecar anew, so that size, hash and layout are right whatever was changed."""
    sidecar = read_sidecar(sidecar_path(shard)).model_copy(
        update={
            "bytes": shard.stat().st_size,
            "sha256": file_digest(shard),
            "datasets": read_layout(shard).datasets,
        }
        | changes
    )
    write_sidecar(sidecar, sidecar_path(shard))


def replant(name, row, value):
    """Damage inside the data: numbers are changed, and the sidecar knows the new hash."""

    def plant(folder):
        kind = "captions" if name in CAPTION_ARRAYS else "regions"
        shard = shard_path(folder, kind, 1)
        with h5py.File(shard, "r+") as file:
            file[name][row] = value
        reseal(shard)

    return plant


CAPTION_ARRAYS = {
    "head", "form", "rule", "objects", "triples", "token_offsets", "text_offsets", "caption_ids",
}  # fmt: skip


def flip_byte(folder):
    shard = shard_path(folder, "regions", 1)
    content = bytearray(shard.read_bytes())
    content[read_sidecar(sidecar_path(shard)).datasets["features"].offset] ^= 1
    times = shard.stat()
    shard.write_bytes(content)
    os.utime(shard, ns=(times.st_atime_ns, times.st_mtime_ns))


def truncate(folder):
    shard = shard_path(folder, "captions", 1)
    os.truncate(shard, shard.stat().st_size // 2)


def swap_sidecars(folder):
    first, second = (folder / f"regions-0000{n}.json" for n in "01")
    text = first.read_text()
    first.write_text(second.read_text())
    second.write_text(text)


def swap_shards(folder):
    """Both shards have the same size; nothing but their bytes can tell."""
    first, second = (folder / f"captions-0000{n}.h5" for n in "01")
    first.rename(folder / "x")
    second.rename(first)
    (folder / "x").rename(second)


def copy_shard(folder):
    """Every id of the first shard appears twice."""
    shard = shutil.copy(shard_path(folder, "regions", 0), shard_path(folder, "regions", 2))
    shutil.copy(folder / "regions-00000.json", folder / "regions-00002.json")
    edit_sidecar("regions-00002", file=shard.name)(folder)


def edit_sidecar(name, **changes):
    def plant(folder):
        path = folder / f"{name}.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return plant


def delete(name):
    return lambda folder: (folder / name).unlink()


def wrong_dtype(folder):
    shard = shard_path(folder, "regions", 1)
    with h5py.File(shard, "r+") as file:
        labels = file["labels"][:]
        del file["labels"]
        file["labels"] = labels.astype("i8")
    reseal(shard)


def lost_dataset(name):
    def plant(folder):
        shard = shard_path(folder, "regions", 1)
        with h5py.File(shard, "r+") as file:
            del file[name]
        reseal(shard)

    return plant


def extra_dataset(folder):
    shard = shard_path(folder, "regions", 1)
    with h5py.File(shard, "r+") as file:
        file["thumbnails"] = np.zeros(3, "u1")
    reseal(shard)


def fewer_rows(folder):
    """The sidecar says fewer rows than the file has."""
    path = folder / "regions-00001.json"
    content = json.loads(path.read_text())
    content["datasets"]["boxes"][1][0] -= 1
    path.write_text(json.dumps(content))


def moved_offset(folder):
    """The sidecar points at other bytes of the right size: HDF5 alone knows better."""
    path = folder / "regions-00001.json"
    content = json.loads(path.read_text())
    content["datasets"]["labels"][0], content["datasets"]["attributes"][0] = (
        content["datasets"]["attributes"][0],
        content["datasets"]["labels"][0],
    )
    content["names"] = None
    path.write_text(json.dumps(content))


def hdf5_signature(folder):
    """Its first byte is another, and the sidecar knows the hash of the damaged file."""
    shard = shard_path(folder, "regions", 1)
    content = bytearray(shard.read_bytes())
    content[0] ^= 0xFF
    shard.write_bytes(content)
    sidecar = read_sidecar(sidecar_path(shard))
    resealed = sidecar.model_copy(update={"sha256": file_digest(shard)})
    write_sidecar(resealed, sidecar_path(shard))


def write_captions(folder, records, split="train", failures=(), number=2):
    from_first = read_sidecar(folder / "captions-00000.json")
    write_shard(
        shard_path(folder, "captions", number),
        "captions",
        records,
        split=split,
        settings=from_first.settings,
        fingerprint=from_first.fingerprint,
        failures=failures,
    )


DAMAGES = {
    # what is planted: (how, the check that must find it, a part of what it says)
    "truncated file": (truncate, "file", "cut short"),
    "flipped byte": (flip_byte, "hash", "SHA-256 is not"),
    "missing sidecar": (delete("regions-00001.json"), "sidecar", "missing"),
    "missing shard": (delete("captions-00000.h5"), "file", "no shard beside it"),
    "swapped sidecars": (swap_sidecars, "sidecar", "swapped or renamed"),
    "swapped shards": (swap_shards, "hash", "SHA-256 is not"),
    "sidecar is no JSON": (lambda f: (f / "regions-00000.json").write_text("{"), "sidecar", "JSON"),
    "schema version": (edit_sidecar("regions-00001", schema_version=7), "sidecar", "version 7"),
    "other fingerprint": (
        edit_sidecar("regions-00001", fingerprint={"detector": "b"}), "fingerprint", "'b' there"
    ),
    "HDF5 signature": (hdf5_signature, "hdf5", "cannot be opened as HDF5"),
    "moved offset": (moved_offset, "hdf5", "disagree: attributes"),
    "wrong dtype": (wrong_dtype, "schema", "labels are <i8, expected <i4"),
    "lost dataset": (lost_dataset("offsets"), "schema", "dataset offsets is missing"),
    "lost boxes": (lost_dataset("boxes"), "schema", "has no boxes, but"),
    "extra dataset": (extra_dataset, "schema", "thumbnails is none"),
    "fewer rows": (fewer_rows, "schema", "boxes have 14 rows, expected 15"),
    "offsets fall": (replant("offsets", 2, 0), "offsets", "offsets do not rise"),
    "offsets end early": (replant("offsets", 5, 14), "offsets", "end at 14, expected 15"),
    "token offsets": (replant("token_offsets", 1, 9), "offsets", "token_offsets do not rise"),
    "string offsets": (replant("text_offsets", 0, 1), "offsets", "text_offsets do not rise"),
    "broken UTF-8": (replant("caption_ids", 0, 255), "strings", "caption_ids are not UTF-8"),
    "NaN feature": (replant("features", (4, 1), np.nan), "features", "first in image 'image-1-2'"),
    "infinite score": (replant("scores", 0, np.inf), "scores", "1 of 15, first in image"),
    "box outside": (replant("boxes", 3, [190, 5, 202, 9]), "boxes", "boxes outside their image"),
    "box above": (replant("boxes", 3, [5, -2, 9, 9]), "boxes", "boxes outside their image"),
    "flat box": (replant("boxes", 3, [5, 5, 5, 9]), "boxes", "boxes without an area"),
    "no image size": (replant("image_sizes", 2, [0, 9]), "boxes", "image_sizes are not all"),
    "unknown label": (replant("labels", 14, 3), "labels", "first in image 'image-1-4'"),
    "negative attribute": (replant("attributes", 0, -1), "attributes", "that have no name"),
    "relation of no region": (replant("relations", 0, [0, 0, 1]), "relations", "of no region"),
    "unknown predicate": (replant("relations", 0, [0, 2, 0]), "relations", "predicates"),
    "head out of range": (replant("head", 5, 4), "heads", "first in caption 'image-1-0#1'"),
    "negative head": (replant("head", 5, -1), "heads", "heads outside their caption"),
    "code of no string": (replant("form", 7, 10**6), "codes", "form codes of no string"),
    "object span": (replant("objects", (1, 1), 5), "spans", "objects outside their caption"),
    "object code": (replant("objects", (1, 2), -1), "codes", "objects with a code"),
    "triple's subject": (replant("triples", (0, 0), 2), "triples", "subjects that are no object"),
    "triple's object": (replant("triples", (0, 4), -1), "triples", "objects that are none"),
    "triple's predicate": (replant("triples", (0, 1), 0), "spans", "predicates outside"),
    "triple's attribute": (replant("triples", (1, 6), 9), "spans", "attributes outside"),
    "attribute with object": (replant("triples", (1, 4), 0), "triples", "attributes with an"),
    "triple's rule": (replant("triples", (1, 8), 99), "codes", "rules with a code"),
    "duplicate id": (copy_shard, "ids", "'image-0-0' appears 2 times"),
    "shard of captions lost": (
        lambda f: [delete(f"captions-00001.{e}")(f) for e in ("h5", "json")],
        "agreement", "5 images without a caption: image-1-0",
    ),
    "shard of regions lost": (
        lambda f: [delete(f"regions-00001.{e}")(f) for e in ("h5", "json")],
        "agreement", "10 captions of an image that is in no shard",
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_planted_damage_is_found(shards, damage):
    plant, check, message = DAMAGES[damage]
    plant(shards)
    report = verify_shards(shards, full=True)
    assert not report.ok
    found = [problem for problem in report.problems if problem.check == check]
    assert any(message in problem.message for problem in found), report.to_table()
    assert message.split()[-1] in " ".join(report.to_table().split())


@pytest.mark.parametrize("damage", ["NaN feature", "head out of range", "box outside"])
def test_damage_inside_the_data_is_the_only_problem_and_found_without_hashes(shards, damage):
    DAMAGES[damage][0](shards)
    report = verify_shards(shards)
    assert [problem.check for problem in report.problems] == [DAMAGES[damage][1]]


def test_box_may_leave_its_image_by_a_pixel(shards):
    replant("boxes", 3, [-1, 5, 201, 9])(shards)
    assert verify_shards(shards).ok


def test_failed_images_and_captions_are_no_disagreement(shards, image, caption, made_by, names):
    write_shard(
        shard_path(shards, "regions", 2),
        "regions",
        [image("lonely")],
        split="train",
        names=names,
        failures=[Failure("broken", "truncated JPEG")],
        **made_by,
    )
    write_captions(
        shards, [caption("broken#0", "broken")], failures=[Failure("lonely#0", "empty caption")]
    )
    report = verify_shards(shards)
    assert report.ok, report.to_table()


def test_caption_in_another_split_than_its_image_is_found(shards, caption):
    write_captions(shards, [caption("image-0-0#9", "image-0-0")], split="test")
    (problem,) = verify_shards(shards).problems
    assert "in another split than their image: image-0-0#9" in problem.message


def test_captions_of_a_split_without_images_are_a_problem(shards, caption):
    write_captions(shards, [caption("new#0", "new")], split="test")
    report = verify_shards(shards)
    assert [problem.message for problem in report.problems] == [
        "1 captions of an image that is in no shard: new#0.",
        "none of 1 captions of split test has its image (captions name new; images are called "
        "image-0-0, image-0-1, image-0-2, ...). Import them with --ids, or add the images.",
    ]
    assert "20 of 21 captions have an image" in report.to_table()
    assert json.loads(report.to_json())["joined"] == 20


@pytest.mark.parametrize("split", [None, "all", "train"])
def test_captions_whose_images_have_other_names_are_a_problem(tmp_path, image, caption, split):
    write_images(tmp_path, [image(f"39{n}") for n in range(5)], split=split)
    captions = [caption(f"dog{n}.jpg#0", f"dog{n}.jpg") for n in range(5)]
    write_of_test(tmp_path, "captions", captions, split="train")
    report = verify_shards(tmp_path)
    assert (
        "captions name dog0.jpg, dog1.jpg, dog2.jpg, ...; images are called 390, 391, 392, ..."
        in (report.problems[1].message)
    )
    assert "0 of 5 captions have an image" in report.to_table()


def test_names_that_several_images_share_are_told_apart(tmp_path, image, caption):
    write_images(tmp_path, [image(id_) for id_ in ("cats/1.jpg", "dogs/1.jpg", "dogs/2.jpg")])
    captions = [caption(f"{n}.jpg#0", f"{n}.jpg") for n in (1, 2)]
    write_of_test(tmp_path, "captions", captions)
    messages = [problem.message for problem in verify_shards(tmp_path).problems]
    assert (
        "1 name of images in captions fit several images: 1.jpg may be cats/1.jpg, dogs/1.jpg. "
        "Give their paths in the captions."
    ) in messages


def write_of_test(folder, kind, records, split=None, **more):
    made_by = {"settings": {}, "fingerprint": {"made": "by a test"}}
    write_shard(shard_path(folder, kind, 0), kind, records, split=split, **made_by, **more)


def write_images(folder, images, **more):
    names = {"labels": ["x"] * 9, "attributes": ["x"] * 9, "relations": ["x"] * 9}
    write_of_test(folder, "regions", images, names=names, **more)


@pytest.mark.parametrize("split", [None, "all"])
def test_imported_ids_and_captions_of_every_split_agree(tmp_path, image, caption, split):
    write_images(tmp_path, [image("391895"), image("42")], split=split)
    names = ["COCO_val2014_000000391895.jpg", "COCO_train2014_000000000042.jpg"]
    for number, (name, its) in enumerate(zip(names, ("val", "train"), strict=True)):
        write_shard(
            shard_path(tmp_path, "captions", number), "captions", [caption(f"{name}#0", name)],
            split=its, settings={}, fingerprint={"made": "by a test"},
        )  # fmt: skip
    report = verify_shards(tmp_path)
    assert report.ok, report.to_table()
    assert report.joined == 2


def test_images_that_are_in_no_drawn_split_are_found(tmp_path, image):
    write_images(tmp_path, [image("a"), image("b", num_regions=2), image("c")], split="all")
    splits = {"images": {"train": ["a"], "val": ["b"]}}
    (tmp_path / "splits.json").write_text(json.dumps(splits))
    (problem,) = verify_shards(tmp_path).problems
    assert problem.message == "1 images that pipeline split has not divided: c."
    (tmp_path / "splits.json").write_text("[]")
    (problem,) = verify_shards(tmp_path).problems
    assert "is damaged" in problem.message


def test_left_temporary_file_is_a_notice(shards):
    (shards / "regions-00002.h5.tmp").write_bytes(b"half")
    report = verify_shards(shards)
    assert report.ok
    assert "regions-00002.h5.tmp was left" in report.to_table()


def test_layout_is_the_same_from_a_child_process(shards):
    shard = shard_path(shards, "captions", 0)
    assert read_damaged_layout(shard) == read_layout(shard)
    assert "triples" in read_layout(shard).datasets


def test_file_that_hdf5_cannot_open_is_told_from_the_child_process(tmp_path):
    (tmp_path / "regions-00000.h5").write_bytes(b"no HDF5")
    with pytest.raises(DataError, match="cannot be opened as HDF5"):
        read_damaged_layout(tmp_path / "regions-00000.h5")


def test_death_of_the_child_process_is_an_error_of_the_file(monkeypatch, tmp_path):
    interpreter = tmp_path / "python"
    interpreter.write_text("#!/bin/sh\nkill -9 $$\n")
    interpreter.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    with pytest.raises(DataError, match=r"crashed the HDF5 library \(exit status -9\)"):
        read_damaged_layout(tmp_path / "regions-00000.h5")


@pytest.fixture
def manifest(tmp_path):
    """Writes a manifest of ten images of the fixture `shards`, and of one in another split."""

    def write(first="image-0-0", **changes):
        images = [f"image-{n}-{k}" for n in range(2) for k in range(5)]
        images[0] = first
        lines = [f"{image}#{k}\ta caption" for image in images for k in range(2)]
        (tmp_path / "train.tsv").write_text("\n".join(lines))
        (tmp_path / "test.tsv").write_text("elsewhere#0\ta caption")
        content = {
            "name": "small",
            "title": "Small",
            "licence": "CC0",
            "citation": "none",
            "published": [],
            "image_pattern": "{file}",
            "caption_files": [
                {"file": f"{split}.tsv", "format": "token-tsv", "split": split}
                for split in ("train", "test")
            ],
            "splits": {"train": {"images": 10}, "test": {"images": 1}},
        }
        (tmp_path / "small.yaml").write_text(json.dumps(content | changes))  # JSON is YAML
        return tmp_path / "small.yaml"

    return write


def test_shards_of_the_manifest_pass(shards, manifest, tmp_path):
    assert verify_shards(shards, manifest=manifest()).ok
    elsewhere = manifest().rename(shards / "small.yaml")
    assert verify_shards(shards, manifest=elsewhere, root=tmp_path).ok


def test_ids_that_manifest_or_shards_lack_are_named(shards, manifest):
    report = verify_shards(shards, manifest=manifest(first="new"))
    assert [problem.message for problem in report.problems] == [
        "1 ids that are not in the manifest's splits: image-0-0.",
        "1 ids of the manifest that are in no shard: new.",
        "2 ids that are not in the manifest's splits: image-0-0#0, image-0-0#1.",
        "2 ids of the manifest that are in no shard: new#0, new#1.",
    ]


def test_manifest_without_pictures_checks_captions(shards, manifest):
    for path in shards.glob("regions-*"):
        path.unlink()
    assert verify_shards(shards, manifest=manifest(image_pattern=None)).ok


def test_imported_features_are_compared_with_a_manifest_without_pictures(tmp_path, image, manifest):
    (tmp_path / "s").mkdir()
    write_images(tmp_path / "s", [image(f"image-{n}-{k}.jpg") for n in range(2) for k in range(5)])
    report = verify_shards(tmp_path / "s", manifest=manifest(image_pattern=None))
    assert [problem.message for problem in report.problems] == [
        "1 ids of the manifest that are in no shard: elsewhere."
    ]


def test_folders_and_arguments_that_make_no_sense(tmp_path):
    with pytest.raises(DataError, match="has no shards: expected"):
        verify_shards(tmp_path)
    with pytest.raises(DataError, match="expected a folder"):
        verify_shards(tmp_path / "no")
    with pytest.raises(SettingsError, match="Give --manifest"):
        verify_shards(tmp_path, root=tmp_path)
