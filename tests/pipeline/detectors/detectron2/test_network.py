"""Real detectron2: C4, FPN, the attribute detector, exports. Small random networks."""

from pathlib import Path

import numpy as np
import pytest
import torch
from blocks import pictures
from dialects import ATTRIBUTES, CLASSES, caffe_dialect, detectron2_dialect
from networks import batch_of, network, slim, spread

pytest.importorskip("detectron2", reason="detectron2 is not installed")

from pipeline.detectors.base import RegionDetector
from pipeline.detectors.detectron2.configuration import require_detectron2
from pipeline.detectors.exporting import export_network
from pipeline.detectors.onnx import OnnxNetwork
from pipeline.detectors.selection import Selection
from pipeline.errors import DataError, SettingsError

# detectron2 and the legacy exporter warn of functions that newer versions of torch rename
pytestmark = [pytest.mark.detectron2, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module", autouse=True)
def quiet_and_single():
    require_detectron2()
    torch.set_num_threads(1)


@pytest.mark.parametrize("kind", ["c4", "fpn"])
def test_onnx_runtime_gives_what_detectron2_gives(kind, tmp_path):
    ours = network(slim(kind))
    path = tmp_path / "small.onnx"
    size = export_network(ours.module, ours.info, path)
    assert size == path.stat().st_size
    theirs = OnnxNetwork(path)
    assert theirs.info == ours.info
    selection = Selection(12, 12)
    one = RegionDetector(ours, selection, {}).detect(pictures())
    two = RegionDetector(theirs, selection, {}).detect(pictures())
    for a, b in zip(one, two, strict=True):
        assert np.abs(a.boxes - b.boxes).max() < 1e-2
        assert np.abs(a.features - b.features).max() < 1e-3 * np.abs(a.features).max()
        assert np.array_equal(a.labels, b.labels)
        if kind == "c4":
            assert np.abs(a.attribute_scores - b.attribute_scores).max() < 1e-4
            assert np.allclose(a.attribute_scores[:, :2].sum(1), 1, atol=1e-5)


SIZES = [(1, 1), (5, 96), (24, 24), (58, 125), (96, 129)]


@pytest.mark.parametrize("kind", ["c4", "fpn"])
def test_an_exported_detector_gives_the_right_boxes_for_other_numbers_of_proposals(kind, tmp_path):
    ours = network(slim(kind))
    path = tmp_path / "small.onnx"
    export_network(ours.module, ours.info, path)
    theirs = OnnxNetwork(path)
    counts = set()
    for size in SIZES:
        planes = np.random.default_rng(0).integers(0, 256, (1, 3, *size)).astype(np.float32)
        (expected,), (found,) = ours.start(planes)(), theirs.start(planes)()
        assert found.boxes.shape == expected.boxes.shape
        assert np.abs(found.boxes - expected.boxes).max() < 1e-2
        assert np.abs(found.class_scores - expected.class_scores).max() < 1e-4
        counts.add(len(found.boxes))
    assert len(counts) > 1


@pytest.mark.parametrize("kind", ["c4", "fpn"])
def test_neighbours_in_a_batch_do_not_show(kind):
    detector = RegionDetector(network(slim(kind)), Selection(12, 12), {})
    together = detector.detect(pictures() * 2)
    for regions, picture in zip(together, pictures() * 2, strict=True):
        (alone,) = detector.detect([picture])
        largest = np.abs(alone.features).max()
        assert np.abs(regions.features - alone.features).max() < 1e-4 * largest
        assert np.abs(regions.boxes - alone.boxes).max() < 1e-2


@pytest.mark.parametrize("kind", ["c4", "fpn"])
@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1)])
def test_odd_sizes_give_regions_inside_the_picture(kind, size):
    detector = RegionDetector(network(slim(kind)), Selection(4, 12), {})
    (found,) = detector.detect([np.full((*size, 3), 90, np.uint8)])
    assert 1 <= len(found.boxes) <= 12
    assert np.isfinite(found.features).all()
    assert (found.boxes >= 0).all()
    assert (found.boxes <= [size[1], size[0], size[1], size[0]]).all()


def test_the_feature_is_what_the_box_predictor_sees():
    ours = network(slim("fpn"))
    seen = []
    ours.module.model.roi_heads.box_predictor.register_forward_pre_hook(
        lambda _, given: seen.append(given[0])
    )
    (found,) = ours.start(batch_of(pictures()[:1]))()
    assert np.array_equal(found.features, seen[0].flatten(1).numpy())


def test_too_little_gpu_memory_halves_the_batch(monkeypatch, caplog):
    ours = network(slim("c4"))
    whole = ours.module.forward

    def of_at_most_one(images):
        if len(images) > 1:
            raise torch.OutOfMemoryError("none left")
        return whole(images)

    monkeypatch.setattr(ours.module, "forward", of_at_most_one)
    batch = batch_of(pictures()[:2] * 2)
    halved = ours.start(batch)()
    assert "continuing with 2" in caplog.text
    assert "continuing with 1" in caplog.text
    for one, picture in zip(halved, batch, strict=True):
        (alone,) = ours.start(picture[None])()
        assert np.array_equal(one.features, alone.features)
    caplog.clear()
    ours.start(batch)()
    assert not caplog.text  # it does not run out of memory again


def test_a_model_that_is_no_faster_rcnn_is_told():
    from pipeline.detectors.detectron2 import network as detectron2

    config = slim("fpn")
    config.MODEL.ROI_HEADS.NAME = "CascadeROIHeads"
    config.MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG = True
    with pytest.raises(SettingsError, match="CascadeROIHeads"):
        detectron2.RegionHeads(detectron2.build_model(config), "refined")


def test_a_checkpoint_of_another_architecture_is_told(tmp_path):
    from pipeline.detectors.detectron2 import network as detectron2

    path = tmp_path / "fpn.pth"
    torch.save({"model": detectron2.build_model(slim("fpn")).state_dict()}, path)
    with pytest.raises(DataError, match=r"missing: (.|\n)*unexpected: "):
        detectron2.open_detectron2(slim("c4"), path)


def test_a_class_count_that_does_not_fit_is_told(tmp_path):
    from pipeline.detectors.detectron2 import network as detectron2

    path = tmp_path / "five.pth"
    torch.save({"model": detectron2.build_model(slim("c4")).state_dict()}, path)
    config = slim("c4")
    config.MODEL.ROI_HEADS.NUM_CLASSES = 9
    with pytest.raises(DataError, match=r"model has \[10, 128\], the file has \[6, 128\]") as told:
        detectron2.open_detectron2(config, path)
    assert "NUM_CLASSES" in str(told.value)


def test_cuda_that_is_absent_is_told():
    from pipeline.detectors.detectron2 import network as detectron2

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(SettingsError, match="torch finds none"):
        detectron2.open_detectron2(slim("c4"), Path("absent.pth"), device="cuda")


def test_caffe_anchors_are_those_of_its_published_code():
    from pipeline.detectors.detectron2.caffe import caffe_cell_anchors

    # py-faster-rcnn, generate_anchors.py, for scales 8, 16, 32
    expected = [
        [-84, -40, 99, 55], [-176, -88, 191, 103], [-360, -184, 375, 199],
        [-56, -56, 71, 71], [-120, -120, 135, 135], [-248, -248, 263, 263],
        [-36, -80, 51, 95], [-80, -168, 95, 183], [-168, -344, 183, 359],
    ]  # fmt: skip
    assert caffe_cell_anchors((8, 16, 32), (0.5, 1, 2)).tolist() == expected


def slim_visual_genome():
    """A slim R50 of the attribute detector's shape, canonical."""
    from pipeline.detectors.detectron2 import network as detectron2
    from pipeline.detectors.detectron2.configuration import named_config

    config = named_config("r101-c4")
    model, resnets = config.MODEL, config.MODEL.RESNETS
    model.DEVICE = "cpu"
    model.BACKBONE.NAME = "build_caffe_resnet_backbone"
    resnets.DEPTH, resnets.STEM_OUT_CHANNELS = 50, 8
    resnets.WIDTH_PER_GROUP, resnets.RES2_OUT_CHANNELS = 4, 8
    model.PROPOSAL_GENERATOR.NAME = "CaffeRPN"
    model.ANCHOR_GENERATOR.NAME = "CaffeAnchorGenerator"
    model.ANCHOR_GENERATOR.SIZES = [[64, 128, 256, 512]]
    model.RPN.CONV_DIMS = [16]
    model.ROI_HEADS.NUM_CLASSES = CLASSES
    model.ATTRIBUTES.NAMES = [str(k) for k in range(ATTRIBUTES)]
    model.ATTRIBUTES.EMBEDDING_WIDTH, model.ATTRIBUTES.HIDDEN_WIDTH = 8, 24
    return spread(detectron2.build_model(config)).state_dict()


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The two files a project would publish, from the same weights."""
    import pickle

    folder = tmp_path_factory.mktemp("published")
    weights = {k: v for k, v in slim_visual_genome().items() if "num_batches" not in k}
    torch.save({"model": caffe_dialect(weights)}, folder / "bua-caffe.pth")
    arrays = {name: value.numpy() for name, value in detectron2_dialect(weights).items()}
    (folder / "from_caffe_attr.pkl").write_bytes(pickle.dumps({"model": arrays}))
    return folder


def small_photo():
    return pictures()[0][:100, :120]


def test_both_dialects_give_equal_outputs(published):
    from pipeline.detectors.detectron2.visual_genome import open_visual_genome

    found = []
    for name in ("bua-caffe.pth", "from_caffe_attr.pkl"):
        opened = open_visual_genome(published / name)
        detector = RegionDetector(opened, opened.info.selection.selection("10:20"), {})
        found.append(detector.detect([small_photo()])[0])
        assert opened.info.boxes == "proposals"
        assert (published / name).with_suffix(".safetensors").is_file()
    one, two = found
    for name in ("boxes", "features", "scores", "attribute_scores"):
        assert np.abs(getattr(one, name) - getattr(two, name)).max() < 1e-4, name
    assert np.array_equal(one.labels, two.labels)


def test_the_canonical_file_opens_alone_and_says_the_same(published):
    from pipeline.detectors.detectron2.visual_genome import open_visual_genome

    first = open_visual_genome(published / "bua-caffe.pth")
    again = open_visual_genome(published / "bua-caffe.pth")  # from the canonical file beside it
    assert again.info.dialect == first.info.dialect == "caffe"
    alone = open_visual_genome(published / "bua-caffe.safetensors")
    batch = batch_of([small_photo()])
    expected = first.start(batch)()[0].class_scores
    for other in (again, alone):
        assert np.array_equal(other.start(batch)()[0].class_scores, expected)


def test_a_key_too_few_is_told(published, tmp_path):
    from pipeline.detectors.detectron2.visual_genome import open_visual_genome

    content = torch.load(published / "bua-caffe.pth", weights_only=True)
    del content["model"]["backbone.res3.0.conv2.weight"]
    torch.save(content, tmp_path / "part.pth")
    with pytest.raises(DataError, match=r"1 missing: backbone\.res3\.0\.conv2\.weight"):
        open_visual_genome(tmp_path / "part.pth")


def test_the_attribute_detector_runs_as_onnx(published, tmp_path):
    from pipeline.detectors.detectron2.visual_genome import open_visual_genome

    ours = open_visual_genome(published / "from_caffe_attr.pkl")
    export_network(ours.module, ours.info, tmp_path / "vg.onnx")
    theirs = OnnxNetwork(tmp_path / "vg.onnx")
    selection = ours.info.selection.selection("10:20")
    (one,) = RegionDetector(ours, selection, {}).detect([small_photo()])
    (two,) = RegionDetector(theirs, selection, {}).detect([small_photo()])
    assert np.abs(one.boxes - two.boxes).max() < 1e-2
    assert np.abs(one.features - two.features).max() < 1e-2 * np.abs(one.features).max()
