"""Real torchvision with random weights: the same as its own models, and as the exported file."""

import re

import numpy as np
import pytest
import torch
from blocks import pictures
from click.testing import CliRunner
from torch import nn

try:
    import torchvision  # noqa: F401 - what is asked is whether it imports
except (ImportError, RuntimeError) as error:  # RuntimeError: built for another torch
    pytest.skip(f"torchvision does not import: {error}", allow_module_level=True)

from pipeline.cli import main
from pipeline.detectors import torchvision as backend
from pipeline.detectors.base import RegionDetector
from pipeline.detectors.exporting import export_network
from pipeline.detectors.onnx import OnnxNetwork
from pipeline.detectors.resizing import resize
from pipeline.detectors.selection import Selection
from pipeline.detectors.specification import open_detector
from pipeline.detectors.torch_backend import TorchNetwork
from pipeline.errors import DataError, SettingsError

# the legacy exporter and torchvision warn of functions that newer versions of torch rename
pytestmark = [pytest.mark.torchvision, pytest.mark.filterwarnings("ignore")]

SMALL = "fasterrcnn_mobilenet_v3_large_320_fpn"
NUM_CLASSES = 6


def random_model(name=SMALL, num_classes=NUM_CLASSES):
    """Weights that tell proposals apart; fresh ones give equal scores."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = backend.build_model(name, num_classes)
    made = torch.Generator().manual_seed(3)
    for key, value in model.state_dict().items():
        if value.ndim > 1:
            gain = 0.05 if "bbox_pred" in key else 0.8
            deviation = gain * (2 / value[0].numel()) ** 0.5
            value.copy_(torch.randn(value.shape, generator=made) * deviation)
    return model


def network_of(model):
    names = [f"class {k}" for k in range(1, NUM_CLASSES)]
    info = backend.model_info(model, names)
    return TorchNetwork(backend.FasterRCNNProposals(model), info)


@pytest.fixture(scope="module")
def small():
    return network_of(random_model())


@pytest.fixture(scope="module")
def exported(small, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "small.onnx"
    export_network(small.module, small.info, path)
    return OnnxNetwork(path)


def assert_same_regions(ours, theirs):
    assert len(ours) == len(theirs)
    for one, two in zip(ours, theirs, strict=True):
        assert np.abs(one.boxes - two.boxes).max() < 1e-2
        assert np.abs(one.features - two.features).max() < 1e-3 * np.abs(one.features).max()
        assert np.abs(one.scores - two.scores).max() < 1e-4
        assert np.array_equal(one.labels, two.labels)


def test_onnx_runtime_gives_what_torchvision_gives(small, exported):
    assert exported.info == small.info
    selection = Selection(12, 12)
    ours = RegionDetector(small, selection, {}).detect(pictures())
    theirs = RegionDetector(exported, selection, {}).detect(pictures())
    assert_same_regions(ours, theirs)


@pytest.mark.slow
def test_onnx_runtime_gives_what_the_resnet_of_torchvision_gives(tmp_path):
    model = random_model("fasterrcnn_resnet50_fpn_v2")
    model.transform.min_size, model.transform.max_size = (160,), 240
    ours = network_of(model)
    assert ours.info.feature_width == 1024
    export_network(ours.module, ours.info, tmp_path / "resnet.onnx")
    theirs = OnnxNetwork(tmp_path / "resnet.onnx")
    selection = Selection(12, 12)
    assert_same_regions(
        RegionDetector(ours, selection, {}).detect(pictures()),
        RegionDetector(theirs, selection, {}).detect(pictures()),
    )


class PaintedProposals(nn.Module):
    """Stands for the region proposals: a box for each pixel that the image marks with white."""

    def forward(self, images, maps):
        y, x = (images.tensors[0, 0] > 2.2).nonzero().unbind(1)
        return [torch.stack([x, y, x + 9, y + 7], 1).float()], {}


@pytest.mark.parametrize("count", [0, 1, 7, 37, 300, 1000])
def test_the_number_of_proposals_is_not_that_of_the_example(count, exported_with_marks):
    ours, theirs = exported_with_marks
    image = np.full((1, 3, 64, 80), 90, np.float32)
    image[0, 0].reshape(-1)[np.random.default_rng(1).permutation(64 * 80)[:count]] = 255
    (expected,), (found,) = ours.start(image)(), theirs.start(image)()
    assert len(found.boxes) == len(expected.boxes) == count
    assert np.allclose(found.boxes, expected.boxes, atol=1e-3)
    assert np.allclose(found.class_scores, expected.class_scores, atol=1e-5)
    assert np.allclose(found.features, expected.features, atol=1e-3)


@pytest.fixture(scope="module")
def exported_with_marks(tmp_path_factory):
    model = random_model()
    model.rpn = PaintedProposals()
    ours = network_of(model)
    path = tmp_path_factory.mktemp("exported") / "marks.onnx"
    export_network(ours.module, ours.info, path)
    return ours, OnnxNetwork(path)


def test_boxes_scores_and_features_are_those_of_torchvisions_own_forward():
    model = random_model()
    model.roi_heads.score_thresh, model.roi_heads.nms_thresh = 0.0, 1.0  # it keeps all
    model.roi_heads.detections_per_img = 10_000
    seen = []
    model.roi_heads.box_predictor.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    picture = pictures()[0]
    ours = network_of(model)
    seen.clear()
    with torch.no_grad():
        (theirs,) = model([torch.from_numpy(picture).permute(2, 0, 1) / 255])
    detector = RegionDetector(ours, Selection(10, 10), {})
    prepared = detector.prepare(picture)
    (found,) = ours.start(prepared.planes[None])()
    assert np.allclose(found.features, seen[0].numpy(), atol=1e-3)
    scale = np.array([picture.shape[1] / prepared.planes.shape[2]] * 2)
    scale[1] = picture.shape[0] / prepared.planes.shape[1]
    boxes, labels, scores = (theirs[name].numpy() for name in ("boxes", "labels", "scores"))
    for row in range(0, len(found.boxes), 9):
        label = found.class_scores[row].argmax()
        box = found.boxes[row] * np.tile(scale, 2)
        same = np.abs(boxes - box).max(1) < 0.05
        assert (labels[same] == label + 1).any()
        assert np.isclose(scores[same], found.class_scores[row, label], atol=1e-4).any()


@pytest.mark.parametrize("size", [(480, 640), (427, 640), (333, 500), (640, 121)])
def test_images_are_resized_as_torchvision_resizes_them(small, size):
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    transform = small.module.model.transform
    image = torch.from_numpy(picture).permute(2, 0, 1).float()
    expected, _ = transform.resize(image)
    planes = resize(picture, small.info.resize, "RGB")
    assert planes.shape == tuple(expected.shape)
    assert np.abs(planes - expected.numpy()).max() < 0.05


def test_neighbours_in_a_batch_do_not_show(small):
    detector = RegionDetector(small, Selection(12, 12), {})
    alone = [detector.detect([picture])[0] for picture in pictures()]
    assert_same_regions(detector.detect(pictures() * 2), alone * 2)


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1)])
def test_odd_sizes_give_regions_inside_the_picture(small, exported, size):
    for network in (small, exported):
        detector = RegionDetector(network, Selection(4, 12), {})
        (found,) = detector.detect([np.full((*size, 3), 90, np.uint8)])
        assert np.isfinite(found.features).all()
        assert (found.boxes >= 0).all()
        assert (found.boxes <= [size[1], size[0], size[1], size[0]]).all()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gives_what_the_cpu_gives(small, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    on_gpu = TorchNetwork(network_of(random_model()).module, small.info, device="cuda")
    selection = Selection(12, 12)
    ours = RegionDetector(small, selection, {}).detect(pictures())
    assert_same_regions(ours, RegionDetector(on_gpu, selection, {}).detect(pictures()))


def test_weights_of_ones_own_run_and_are_exported(tmp_path):
    torch.save(random_model().state_dict(), tmp_path / "mine.pth")
    (tmp_path / "classes.txt").write_text("cat\ndog\ncow\nhen\npig\n")
    spec = f"torchvision:{SMALL},{tmp_path / 'mine.pth'}"
    opened = open_detector(spec, regions="12")
    assert opened.info.classes == ("cat", "dog", "cow", "hen", "pig")
    assert opened.info.name == SMALL
    result = CliRunner().invoke(
        main,
        ["export-detector", "--detector", spec, "--out", str(tmp_path / "mine.onnx"),
         "--name", "farm", "--domain", "farm animals"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    again = open_detector(f"onnx:{tmp_path / 'mine.onnx'}", regions="12")
    assert (again.info.name, again.info.domain) == ("farm", "farm animals")
    assert_same_regions(opened.detect(pictures()[:1]), again.detect(pictures()[:1]))


def test_unused_category_numbers_of_coco_are_no_classes(monkeypatch, tmp_path):
    state = random_model(num_classes=91).state_dict()
    monkeypatch.setattr(backend, "_fetched", lambda name, published: state)
    detector = open_detector(f"torchvision:{SMALL}")
    assert re.search(r"-[0-9a-f]{8}\.pth$", detector.fingerprint["weights"])
    opened = detector.network
    assert len(opened.info.classes) == 80
    assert opened.info.classes[0] == "person"
    assert "N/A" not in opened.info.classes
    assert "photographs" in opened.info.domain
    (found,) = opened.start(np.zeros((1, 3, 64, 64), np.float32))()
    assert found.class_scores.shape[1] == 80


def test_a_class_list_that_does_not_fit_is_told(tmp_path):
    torch.save(random_model().state_dict(), tmp_path / "mine.pth")
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    with pytest.raises(DataError, match=r"names 2 classes, mine\.pth beside it has 5"):
        backend.open_torchvision(SMALL, tmp_path / "mine.pth")


def test_weights_of_another_model_are_told(tmp_path):
    torch.save(random_model().state_dict(), tmp_path / "mine.pth")
    with pytest.raises(DataError, match=r"missing: (.|\n)*unexpected: "):
        backend.open_torchvision("fasterrcnn_resnet50_fpn_v2", tmp_path / "mine.pth")
    torch.save({"a": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(DataError, match="no Faster R-CNN of torchvision"):
        backend.open_torchvision(SMALL, tmp_path / "other.pth")


def test_an_unknown_model_is_told_the_known_ones():
    with pytest.raises(SettingsError, match=f"{SMALL}(.|\n)*got 'retinanet_resnet50_fpn'"):
        backend.open_torchvision("retinanet_resnet50_fpn")


def test_weights_that_cannot_be_fetched_are_told_the_way_around(monkeypatch):
    def refuse(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    with pytest.raises(DataError, match=f"no network(.|\n)*torchvision:{SMALL},WEIGHTS.pth"):
        backend.open_torchvision(SMALL)
