"""HDF5 files of region features, in the layouts that projects publish."""

import h5py
import numpy as np
import pytest

from pipeline.errors import DataError
from pipeline.shards.convert.importing import import_regions
from pipeline.shards.convert.source import ReadOptions

X = np.arange(24, dtype=np.float32).reshape(3, 8)
BOXES = np.array([[0, 0, 9, 9], [1, 1, 5, 5], [2, 2, 3, 3]], np.float32)
PROBABILITIES = np.array([[0.9, 0.1, 0.2], [0.9, 0.4, 0.3], [0.9, 0.1, 0.6]], np.float32)
"""Background first."""

COUNTS = (3, 2)
"""Regions of the two images in each file."""


def one_dataset(file):
    for number, count in enumerate(COUNTS, 1):
        file[f"COCO_{number}.jpg"] = X[:count]


def one_group(file):
    for number, count in enumerate(COUNTS, 1):
        group = file.create_group(f"val2014/COCO_{number}.jpg")
        group["features"], group["bboxes"] = X[:count], BOXES[:count]
        group.attrs["image_h"], group.attrs["image_w"] = 20, 30


def meshed_memory(file):
    for number, count in enumerate(COUNTS, 1):
        file[f"{number}_features"], file[f"{number}_boxes"] = X[:count], BOXES[:count]
        file[f"{number}_cls_prob"] = PROBABILITIES[:count]


def padded_table(file):
    features, boxes = np.zeros((2, 3, 8), np.float32), np.zeros((2, 3, 4), np.float32)
    for row, count in enumerate(COUNTS):
        features[row, :count], boxes[row, :count] = X[:count], BOXES[:count]
    file["features"], file["boxes"], file["num_boxes"] = features, boxes, np.array(COUNTS)
    file["image_id"] = np.array([1, 2])
    file["image_w"], file["image_h"] = np.array([30, 30]), np.array([20, 20])


def flat_table(file):
    floats = h5py.vlen_dtype(np.float32)
    for name, array in (("features", X), ("boxes", BOXES)):
        column = file.create_dataset(name, (2,), dtype=floats)
        for row, count in enumerate(COUNTS):
            column[row] = array[:count].ravel()
    file["num_boxes"], file["image_id"] = np.array(COUNTS), np.array(["1", "2"], "S1")


def adaptive(file):
    file["image_features"], file["image_bb"] = np.vstack([X, X[:2]]), np.vstack([BOXES, BOXES[:2]])
    file["spatial_features"] = np.zeros((5, 6), np.float32)
    file["pos_boxes"] = np.array([[0, 3], [3, 5]])


LAYOUTS = {
    "one dataset an image": (one_dataset, ["COCO_1.jpg", "COCO_2.jpg"], set()),
    "one group an image": (
        one_group,
        ["val2014/COCO_1.jpg", "val2014/COCO_2.jpg"],
        {"boxes", "image_size"},
    ),
    "meshed memory": (meshed_memory, ["1", "2"], {"boxes", "labels", "scores"}),
    "padded table": (padded_table, ["1", "2"], {"boxes", "image_size"}),
    "flat table": (flat_table, ["1", "2"], {"boxes"}),
    "adaptive": (adaptive, ["1", "2"], {"boxes"}),
}


def write(path, layout):
    with h5py.File(path, "w") as file:
        layout(file)
    return path


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_is_read(name, tmp_path, read_shards):
    layout, ids, has = LAYOUTS[name]
    path = write(tmp_path / "in.h5", layout)
    (tmp_path / "ids").write_text("1\n2\n")
    options = ReadOptions(ids=tmp_path / "ids" if name == "adaptive" else None, split="val")
    report = import_regions(path, tmp_path / "s", "hdf5", options=options, dtype="float32")
    assert (report.images, report.failures) == (2, {})
    assert bool(report.notices) == ("boxes" not in has)
    images = read_shards(tmp_path / "s", "val")
    assert [image.image_id for image in images] == ids
    for image, count in zip(images, COUNTS, strict=True):
        np.testing.assert_array_equal(image.features, X[:count])
        if image.boxes is not None:
            np.testing.assert_array_equal(image.boxes, BOXES[:count])
        if image.labels is not None:
            assert image.labels.tolist() == [1, 0, 1][:count]
        parts = ("boxes", "image_size", "labels", "scores", "attributes")
        assert {part for part in parts if getattr(image, part) is not None} == has


def test_several_files_are_one_split(tmp_path, read_shards):
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "a.h5", lambda file: file.create_dataset("a", data=X))
    write(tmp_path / "in" / "b.hdf5", lambda file: file.create_dataset("b", data=X))
    import_regions(tmp_path / "in", tmp_path / "s", "hdf5")
    assert [image.image_id for image in read_shards(tmp_path / "s")] == ["a", "b"]


def test_a_faulty_image_is_listed_or_ends_the_import(tmp_path):
    def layout(file):
        file["1_features"], file["1_boxes"] = X, BOXES
        file["2_features"], file["2_boxes"] = X, BOXES[:2]

    path = write(tmp_path / "in.h5", layout)
    with pytest.raises(DataError, match=r"in\.h5, 2, field features"):
        import_regions(path, tmp_path / "s", "hdf5", options=ReadOptions(skip_faulty=False))
    assert list(import_regions(path, tmp_path / "s", "hdf5").failures) == ["2"]


@pytest.mark.parametrize(
    ("layout", "says"),
    [
        (adaptive, "has no ids of its images: give --ids"),
        (lambda file: file.create_dataset("loss", data=np.ones(4)), "the file holds loss"),
        (lambda file: None, "the file holds nothing"),
        (lambda file: file.create_dataset("1", data=np.ones((3, 8), int)), "the file holds 1"),
    ],
)
def test_other_files_are_refused(layout, says, tmp_path):
    path = write(tmp_path / "in.h5", layout)
    with pytest.raises(DataError, match=says):
        import_regions(path, tmp_path / "s", "hdf5")


@pytest.mark.parametrize("content", [b"", b"no HDF5" * 200, None])
def test_a_file_that_is_no_hdf5_is_refused(content, tmp_path):
    path = tmp_path / "in.h5"
    if content is None:
        content = write(path, meshed_memory).read_bytes()[:-100]
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"in\.h5: expected a complete HDF5 file"):
        import_regions(path, tmp_path / "s", "hdf5")
