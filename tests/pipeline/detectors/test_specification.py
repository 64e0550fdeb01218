import importlib.util

import pytest

from pipeline.detectors.specification import DetectorSpec, embedded_file, open_detector
from pipeline.errors import DataError, MissingExtraError, SettingsError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("onnx:a.onnx", DetectorSpec("onnx", weights="a.onnx")),
        ("detectron2:c.yaml,w.pth", DetectorSpec("detectron2", "c.yaml", "w.pth")),
        ("photos:r", DetectorSpec("photos", "r/recipe.yaml", "r/model.safetensors")),
        ("torchvision:m", DetectorSpec("torchvision", "m")),
        ("torchvision:m,w.pth", DetectorSpec("torchvision", "m", "w.pth")),
        ("detectron2:zoo/COCO-Detection/x", DetectorSpec("zoo", "COCO-Detection/x")),
        ("vg-attributes:w.pkl", DetectorSpec("vg-attributes", weights="w.pkl")),
    ],
)
def test_the_forms_of_a_detector(text, expected):
    assert DetectorSpec.parse(text) == expected


UNKNOWN = (
    "",
    "onnx",
    "photo",
    "photos:",
    "torchvision:",
    "torchvision:m,",
    "onnx:",
    "detectron2:c.yaml",
    "detectron2:zoo/",
    "x:y",
)


@pytest.mark.parametrize("text", UNKNOWN)
def test_other_forms_are_told_the_known_ones(text):
    with pytest.raises(SettingsError, match="vg-attributes:WEIGHTS"):
        DetectorSpec.parse(text)


@pytest.mark.parametrize(
    ("spec", "package", "instead"),
    [
        ("detectron2:c.yaml,w.pth", "detectron2", "onnx:FILE"),
        ("torchvision:fasterrcnn_resnet50_fpn_v2", "torchvision", "--detector photos"),
    ],
)
def test_a_missing_package_is_told_with_its_extra_and_the_way_around(
    spec, package, instead, monkeypatch
):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == package else find(name)
    )
    with pytest.raises(MissingExtraError, match=rf"resg\[{package}\](.|\n)*{instead}"):
        open_detector(spec)


def test_a_file_that_states_no_name_is_called_after_itself(tmp_path):
    path = tmp_path / "mine.onnx"
    path.write_bytes(embedded_file("scenes").read_bytes())
    info = open_detector(f"onnx:{path}").info
    assert (info.name, info.domain) == ("mine", "pictures of an unstated domain")
    assert open_detector("scenes").info.name == "scenes"


def test_the_scenes_detector_has_the_fingerprint_of_older_shards():
    digest = "9f8f15fcb77b895ac5c964f8792413b127f936051b590f745b7b33bc690c3934"
    assert DetectorSpec.parse("scenes").fingerprint() == {"backend": "onnx", "weights": digest}


def test_the_fingerprint_is_of_the_bytes_and_not_of_the_place(tmp_path):
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (DetectorSpec("onnx", weights=str(tmp_path / n)).fingerprint() for n in "abc")
    assert a == b != c
    with pytest.raises(DataError, match="no such file"):
        DetectorSpec("onnx", weights=str(tmp_path / "d")).fingerprint()
