"""The variants of .npz that bottom-up-attention.pytorch and OpenVQA write."""

import numpy as np
import pytest

from pipeline.errors import DataError
from pipeline.shards.convert.exporting import export_regions
from pipeline.shards.convert.importing import import_regions
from pipeline.shards.convert.source import ReadOptions

X = np.arange(24, dtype=np.float32).reshape(3, 8)
BOXES = np.array([[0, 0, 9, 9], [1, 1, 5, 5], [2, 2, 3, 3]], np.float32)
SIZE = {"image_h": 20, "image_w": 30}
CLASSES = np.array([4, 0, 2])
SHARES = np.array([0.5, 0.75, 0.25], np.float32)


def probabilities(classes, shares, width, background=0):
    """`[R, background + width]` with `shares` at the classes; background would win if counted."""
    matrix = np.zeros((len(classes), background + width), np.float32)
    matrix[:, :background] = 0.9
    matrix[np.arange(len(classes)), background + classes] = shares
    return matrix


CAFFE_INFO = {
    "image_id": "a",
    "image_h": np.int64(20),
    "image_w": np.int64(30),
    "num_boxes": 3,
    "objects_id": CLASSES,
    "objects_conf": SHARES,
    "attrs_id": CLASSES + 1,
    "attrs_conf": SHARES / 2,
}
D2_INFO = {
    "objects": CLASSES,
    "cls_prob": probabilities(CLASSES, SHARES, 6),
    "attrs_id": probabilities(CLASSES + 1, SHARES / 2, 8),
    "attrs_scores": np.zeros((3, 8)),
}
BACKGROUND = {
    "cls_prob": probabilities(CLASSES, SHARES, 6, background=1),
    "attr_prob": probabilities(CLASSES + 1, SHARES / 2, 8, background=1),
}


@pytest.fixture
def import_one(tmp_path, read_shards):
    """Save the arrays as `a.npz` and give the image that is imported."""

    def convert(trust_pickle=False, **arrays):
        (tmp_path / "npz").mkdir()
        np.savez_compressed(tmp_path / "npz" / "a.npz", **arrays)
        import_regions(
            tmp_path / "npz", tmp_path / "s", "npz",
            options=ReadOptions(trust_pickle=trust_pickle), dtype="float32",
        )  # fmt: skip
        (image,) = read_shards(tmp_path / "s")
        return image

    return convert


@pytest.mark.parametrize(
    "arrays",
    [
        {"x": X, "num_bbox": 3, **SIZE, "info": CAFFE_INFO},
        {
            "x": X,
            "num_bbox": 3,
            **SIZE,
            "image_h_inner": 600,
            "image_w_inner": 900,
            "info": D2_INFO,
        },
        {"x": X.T, "num_bbox": 3, **SIZE, **BACKGROUND},
    ],
    ids=["milvlg caffe", "milvlg d2", "openvqa with probabilities"],
)
def test_everything_is_found(arrays, import_one):
    image = import_one(bbox=BOXES, trust_pickle="info" in arrays, **arrays)
    assert image.image_id == "a"
    assert image.image_size == (20, 30)
    np.testing.assert_array_equal(image.features, X)
    np.testing.assert_array_equal(image.boxes, BOXES)
    np.testing.assert_array_equal(image.labels, CLASSES)
    np.testing.assert_array_equal(image.scores, SHARES)
    np.testing.assert_array_equal(image.attributes, CLASSES + 1)
    np.testing.assert_array_equal(image.attribute_scores, SHARES / 2)


@pytest.mark.parametrize(
    ("arrays", "has"),
    [
        ({"x": X.T, "bbox": BOXES, "num_bbox": 3, **SIZE}, {"boxes", "image_size"}),
        ({"x": X, "bbox": BOXES}, {"boxes"}),
        ({"x": X, "bbox": BOXES, "height": 20, "width": 30}, {"boxes", "image_size"}),
        ({"x": X}, set()),
        ({"x": X.T, "num_bbox": 3}, set()),
        ({"x": X.astype(np.float16), "bbox": BOXES.astype(np.float64)}, {"boxes"}),
    ],
    ids=["openvqa", "milvlg first", "gqa", "features alone", "turned", "other floats"],
)
def test_what_is_missing_stays_missing(arrays, has, import_one):
    image = import_one(**arrays)
    np.testing.assert_array_equal(image.features, X)
    assert {n for n in ("boxes", "image_size") if getattr(image, n) is not None} == has
    assert image.labels is None
    assert image.scores is None


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"bbox": BOXES, "num_bbox": 3}, "field x: no features; the file holds bbox, num_bbox"),
        (
            {"x": X, "bbox": BOXES[:2]},
            r"field x: expected .* R = 2 regions, found float32 \[3, 8\]",
        ),
        ({"x": X, "bbox": BOXES, "num_bbox": 4}, "num_bbox: it says 4 regions, bbox holds 3"),
        ({"x": X, "bbox": BOXES[:, :3]}, r"field bbox: expected \[R, 4\], found \[3, 3\]"),
        ({"x": X, "bbox": BOXES * 9, **SIZE}, r"field bbox: box 0 is .* of 30 x 20 pixels"),
        ({"x": X * np.nan, "bbox": BOXES}, "field x: region 0 holds NaN"),
        ({"x": X, "image_h": 1.5, "image_w": 2}, "field image_h: expected an integer"),
        ({"x": X, "info": {"objects_id": CLASSES[:2]}}, "objects_id: expected 3 values, found 2"),
        ({"x": X, "info": {"objects_id": SHARES}}, "objects_id: expected class indices"),
        ({"x": X, "info": [1]}, "expected a dict, found int"),
        (
            {"x": X, "info": {"objects": CLASSES + 9, "cls_prob": D2_INFO["cls_prob"]}},
            "do not fit together",
        ),
        ({"x": X, "cls_prob": SHARES}, "do not fit together"),
    ],
)
def test_unsound_files_are_named(arrays, says, import_one):
    if "info" in arrays:
        arrays["info"] = np.array(arrays["info"], dtype=object)
    with pytest.raises(DataError, match=r"a\.npz.*" + says):
        import_one(trust_pickle=True, **arrays)


def test_export_is_what_milvlg_writes(tmp_path, make_image, write_shards):
    image = make_image("a")
    write_shards(tmp_path / "s", [image])
    export_regions(tmp_path / "s", tmp_path / "npz", "npz")
    with np.load(tmp_path / "npz" / "a.npz", allow_pickle=True) as arrays:
        assert set(arrays.files) == {"x", "bbox", "num_bbox", "image_h", "image_w", "info"}
        np.testing.assert_array_equal(arrays["x"], image.features)
        np.testing.assert_array_equal(arrays["bbox"], image.boxes)
        assert (arrays["num_bbox"], arrays["image_h"], arrays["image_w"]) == (3, 120, 100)
        info = arrays["info"].item()
    assert info["image_id"] == "a"
    assert info["objects_id"].dtype == np.int64
    np.testing.assert_array_equal(info["attrs_conf"], image.attribute_scores)


def test_without_labels_nothing_is_pickled(tmp_path, make_image, write_shards, read_shards):
    bare = dict.fromkeys(("labels", "scores", "attributes", "attribute_scores"))
    write_shards(tmp_path / "s", [make_image("a", **bare)])
    export_regions(tmp_path / "s", tmp_path / "npz", "npz")
    import_regions(tmp_path / "npz", tmp_path / "back", "npz")  # no trust_pickle
    assert read_shards(tmp_path / "back")[0].labels is None


class TestFoldersOfArrays:
    """One .npy or .npz per image, as captioning projects leave them."""

    @pytest.fixture
    def bottom_up(self, tmp_path):
        """What make_bu_data.py writes: features, boxes and means in three folders."""
        for name in ("att", "box", "fc"):
            (tmp_path / "bu" / f"cocobu_{name}").mkdir(parents=True)
        for number in (1, 2):
            np.savez(tmp_path / "bu" / "cocobu_att" / f"{number}.npz", feat=X * number)
            np.save(tmp_path / "bu" / "cocobu_box" / f"{number}.npy", BOXES)
            np.save(tmp_path / "bu" / "cocobu_fc" / f"{number}.npy", X.mean(0))
        return tmp_path / "bu"

    @pytest.mark.parametrize("inside", ["", "cocobu_att"])
    def test_features_and_boxes_of_two_folders(self, inside, bottom_up, tmp_path, read_shards):
        report = import_regions(bottom_up / inside, tmp_path / "s", "npz", dtype="float32")
        assert (report.images, report.notices) == (2, ())
        first, second = read_shards(tmp_path / "s")
        assert (first.image_id, second.image_id) == ("1", "2")
        np.testing.assert_array_equal(second.features, X * 2)
        np.testing.assert_array_equal(second.boxes, BOXES)

    def test_an_image_without_its_boxes_is_listed(self, bottom_up, tmp_path):
        (bottom_up / "cocobu_box" / "2.npy").unlink()
        report = import_regions(bottom_up, tmp_path / "s", "npz")
        assert list(report.failures) == ["2"]
        assert "2.npy is missing" in report.failures["2"]

    def test_several_folders_of_features_are_refused(self, bottom_up, tmp_path):
        (bottom_up / "other_att").mkdir()
        with pytest.raises(DataError, match="several folders of features"):
            import_regions(bottom_up, tmp_path / "s", "npz")

    def test_bare_arrays_have_no_boxes_which_is_said(self, tmp_path, read_shards):
        (tmp_path / "in").mkdir()
        np.save(tmp_path / "in" / "COCO_val2014_000000000001.jpg.npy", X)
        report = import_regions(tmp_path / "in", tmp_path / "s", "npz", dtype="float32")
        assert "no boxes" in report.notices[0]
        (image,) = read_shards(tmp_path / "s")
        assert image.image_id == "COCO_val2014_000000000001.jpg"
        assert image.boxes is None

    def test_infos_beside_arrays_have_boxes_and_classes(self, tmp_path, read_shards, run):
        (tmp_path / "in").mkdir()
        info = {
            "bbox": BOXES,
            "num_boxes": 3,
            "image_height": 20,
            "image_width": 30,
            "objects": CLASSES,
            "cls_prob": D2_INFO["cls_prob"],
        }
        np.save(tmp_path / "in" / "a.npy", X)
        np.save(tmp_path / "in" / "a_info.npy", np.array(info, dtype=object))
        command = ("import-regions", "--format", "npz", "--input", tmp_path / "in")
        code, output = run(*command, "--out", tmp_path / "s")
        assert code == 1
        assert "--trust-pickle" in output
        assert run(*command, "--out", tmp_path / "s", "--trust-pickle")[0] == 0
        (image,) = read_shards(tmp_path / "s")
        assert image.image_size == (20, 30)
        np.testing.assert_array_equal(image.boxes, BOXES)
        np.testing.assert_array_equal(image.labels, CLASSES)
