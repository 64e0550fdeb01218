import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pipeline.detectors.onnx import METADATA_KEY, OnnxNetwork
from pipeline.detectors.specification import embedded_file
from pipeline.errors import DataError, SettingsError
from pipeline.images import load_image

SCENES = embedded_file("scenes")


def truth(scenes):
    content = json.loads((scenes / "instances.json").read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    for image in content["images"]:
        own = [a for a in content["annotations"] if a["image_id"] == image["id"]]
        yield (
            scenes / "images" / image["file_name"],
            [(names[a["category_id"]], set(a["attributes"]), a["bbox"]) for a in own],
        )


def overlap(box, left_top_size):
    x, y, width, height = left_top_size
    low, high = np.maximum(box[:2], [x, y]), np.minimum(box[2:], [x + width, y + height])
    shared = np.clip(high - low, 0, None).prod()
    return shared / ((box[2:] - box[:2]).prod() + width * height - shared)


def test_the_embedded_detector_finds_the_objects_of_scenes_and_their_attributes(scenes, embedded):
    found, right, objects = 0, 0, 0
    colours = set(np.array(embedded.info.attributes)[embedded.info.main_attributes])
    for path, known in truth(scenes):
        (regions,) = embedded.detect([load_image(path)])
        record = regions.record(path.name, embedded.info)
        for _, attributes, box in known:
            objects += 1
            overlaps = np.array([overlap(region, box) for region in regions.boxes])
            best = int(overlaps.argmax())
            found += overlaps[best] >= 0.5
            right += embedded.info.attributes[record.attributes[best]] in attributes & colours
    assert found / objects > 0.95
    assert right / objects > 0.95


def test_the_embedded_detector_is_small_and_says_what_it_knows(embedded):
    assert SCENES.stat().st_size < 12e6
    assert "circle" in embedded.info.classes
    assert {"red", "striped", "small"} <= set(embedded.info.attributes)
    assert set(embedded.info.attribute_groups) == {"size", "texture", "colour", "sight"}


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1), (31, 500)])
def test_odd_sizes_give_regions_inside_the_picture(embedded, size):
    (found,) = embedded.detect([np.full((*size, 3), 90, np.uint8)])
    assert len(found.boxes) >= 1
    assert np.isfinite(found.features).all()
    assert (found.boxes >= 0).all()
    assert (found.boxes <= [size[1], size[0], size[1], size[0]]).all()


def test_batches_of_one_and_eight_give_the_same(scenes, embedded):
    pictures = [load_image(path) for path in sorted((scenes / "images").iterdir())[:8]]
    pictures[3] = pictures[3][:180]
    together = embedded.detect(pictures)
    for one, picture in zip(together, pictures, strict=True):
        (alone,) = embedded.detect([picture])
        assert np.abs(one.features - alone.features).max() < 1e-3


def test_a_half_written_file_is_told(tmp_path):
    part = tmp_path / "part.onnx"
    part.write_bytes(SCENES.read_bytes()[:100_000])
    with pytest.raises(DataError, match="not a complete ONNX file"):
        OnnxNetwork(part)


def test_an_absent_file_is_told(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        OnnxNetwork(tmp_path / "absent.onnx")


def write_identity(path, metadata=None):
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("a", "b")]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["a"], ["b"])], "g", value[:1], value[1:]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
    helper.set_model_props(model, metadata or {})
    onnx.save(model, path)


def test_a_network_that_is_no_detector_is_told(tmp_path):
    path = tmp_path / "other.onnx"
    write_identity(path)
    with pytest.raises(DataError, match=r"not a detector.*export-detector"):
        OnnxNetwork(path)


def test_metadata_that_does_not_fit_the_network_is_told(tmp_path, embedded):
    path = tmp_path / "other.onnx"
    write_identity(path, {METADATA_KEY: embedded.info.model_dump_json()})
    with pytest.raises(DataError, match="should have the outputs"):
        OnnxNetwork(path)
    write_identity(path, {METADATA_KEY: "{}"})
    with pytest.raises(DataError, match="describes its detector wrongly"):
        OnnxNetwork(path)


def test_a_class_count_that_does_not_fit_is_told(tmp_path, embedded):
    model = onnx.load(SCENES)
    fewer = embedded.info.model_copy(update={"classes": embedded.info.classes[:-1]})
    helper.set_model_props(model, {METADATA_KEY: fewer.model_dump_json()})
    path = tmp_path / "fewer.onnx"
    onnx.save(model, path)
    with pytest.raises(DataError, match="14 columns of class_scores, its metadata says 13"):
        OnnxNetwork(path)


def test_cuda_that_is_absent_is_told():
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(SettingsError, match="onnxruntime-gpu"):
        OnnxNetwork(SCENES, device="cuda")
