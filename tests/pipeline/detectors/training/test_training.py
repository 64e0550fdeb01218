"""The detector of photographs with real torchvision: network, losses, training, run folder."""

import json

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner
from coco_files import make_coco

try:
    import torchvision  # noqa: F401 - what is asked is whether it imports
except (ImportError, RuntimeError) as error:  # RuntimeError: built for another torch
    pytest.skip(f"torchvision does not import: {error}", allow_module_level=True)

from pipeline.cli import main
from pipeline.detectors.base import DetectedRegions
from pipeline.detectors.exporting import export_network
from pipeline.detectors.onnx import OnnxNetwork
from pipeline.detectors.specification import open_detector
from pipeline.detectors.torchvision import FasterRCNNProposals
from pipeline.detectors.training.augmentation import DetectionBatch
from pipeline.detectors.training.evaluation import evaluate_detector
from pipeline.detectors.training.losses import DetectionLosses, LossSettings
from pipeline.detectors.training.network import NetworkSettings, box_means, build_network
from pipeline.detectors.training.run_folder import open_run
from pipeline.detectors.training.settings import (
    OptimiserSettings,
    TrainingRecipe,
    read_recipe,
)
from pipeline.detectors.training.trainer import detector_info, learning_rate_share
from pipeline.errors import DataError, SettingsError

# the legacy exporter and torchvision warn of functions that newer versions of torch rename
pytestmark = [pytest.mark.torchvision, pytest.mark.filterwarnings("ignore")]

SMALL = {
    "trunk": "lite0",
    "pyramid_channels": 16,
    "box_width": 32,
    "anchor_sizes": [[16], [32], [64]],
    "proposals": 40,
}
RECIPE = {
    "network": SMALL,
    "augmentation": {"canvases": [[64, 96]], "min_zoom": 1.0, "max_zoom": 1.2},
    "losses": {"regions": 16, "proposals": 32},
    "optimiser": {"iterations": 8, "batch": 4, "warmup_steps": 2, "learning_rate": 0.002},
    "short_side": 64,
    "max_side": 128,
    "stored_side": 64,
    "min_word_count": 1,
}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_network(2, NetworkSettings.model_validate(SMALL)).eval()


def batch(labels, weak=False):
    """Two images with one box each, of these classes (-1: no box)."""
    boxes = torch.tensor([[[8.0, 8, 40, 40]], [[20, 10, 60, 50]]])
    return DetectionBatch(
        images=torch.rand(2, 3, 64, 64) * 255,
        boxes=boxes,
        labels=torch.tensor(labels)[:, None],
        is_weak=torch.full((2, 1), weak),
        words=torch.tensor([[1.0, 0, 0], [0, 1, 0]]),
        has_words=torch.tensor([True, False]),
    )


def test_means_count_a_cell_by_its_part_in_the_box():
    values = torch.rand(1, 5, 3, 4)
    whole, cell, straddling = box_means(
        values,
        [torch.tensor([[0.0, 0, 128, 96], [32, 64, 64, 96], [16, 0, 40, 32]])],
    )
    assert torch.allclose(whole, values[0].mean((1, 2)))
    assert torch.allclose(cell, values[0, :, 2, 1])
    expected = (16 * values[0, :, 0, 0] + 8 * values[0, :, 0, 1]) / 24
    assert torch.allclose(straddling, expected)


def test_means_of_images_with_other_numbers_of_boxes_are_those_of_each_alone():
    values = torch.rand(2, 5, 3, 4)
    boxes = [torch.tensor([[0.0, 0, 70, 50]]), torch.tensor([[0.0, 0, 9, 9], [5, 5, 90, 90]])]
    together = box_means(values, boxes)
    alone = [box_means(values[k : k + 1], boxes[k : k + 1]) for k in range(2)]
    assert torch.equal(together, torch.cat(alone))


def test_the_exported_file_gives_what_torch_gives(network, tmp_path):
    recipe = TrainingRecipe.model_validate(RECIPE)
    info = detector_info(["red", "blue"], recipe)
    proposals = FasterRCNNProposals(network)
    export_network(proposals, info, tmp_path / "d.onnx")
    image = np.random.default_rng(0).uniform(0, 255, (1, 3, 70, 101)).astype(np.float32)
    (exported,) = OnnxNetwork(tmp_path / "d.onnx").start(image)()
    with torch.no_grad():
        found = proposals(torch.from_numpy(image))
    assert exported.features.shape == (len(found.boxes), info.feature_width)
    assert np.allclose(exported.boxes, found.boxes, atol=1e-2)
    assert np.allclose(exported.features, found.features, atol=1e-4)
    assert np.allclose(exported.class_scores, found.class_scores, atol=1e-5)


def test_no_box_gives_no_box_loss_and_a_weak_one_is_no_background(network):
    losses = DetectionLosses(network, 0, LossSettings(regions=16, proposals=32))
    torch.manual_seed(0)
    without = losses(batch([-1, -1]))
    assert float(without["boxes"]) == float(without["anchor_boxes"]) == 0
    assert float(without["classes"]) > 0
    kinds = []
    for weak in (False, True):
        torch.manual_seed(0)
        kinds.append({k: float(v) for k, v in losses(batch([0, 1], weak)).items()})
    assert kinds[0]["anchor_boxes"] > 0
    assert kinds[1]["boxes"] == kinds[1]["anchor_boxes"] == 0


def test_only_images_with_captions_count_in_the_word_loss(network):
    losses = DetectionLosses(network, 3, LossSettings(regions=16, proposals=32))
    torch.manual_seed(0)
    first = losses(batch([0, 1]))["words"]
    torch.manual_seed(0)
    other = batch([0, 1])
    other.words[1] = torch.tensor([1.0, 1, 1])  # of the image without captions
    assert float(first) > 0
    assert float(losses(other)["words"]) == float(first)


def test_the_learning_rate_rises_then_falls_to_a_hundredth():
    settings = OptimiserSettings(iterations=100, warmup_steps=10)
    shares = [learning_rate_share(step, settings) for step in range(100)]
    assert shares[0] == pytest.approx(0.1)
    assert max(shares) == pytest.approx(shares[10]) == pytest.approx(1)
    assert shares[10:] == sorted(shares[10:], reverse=True)
    assert shares[-1] == pytest.approx(0.01, abs=1e-3)


def train(tmp_path, *more):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    data = f"{tmp_path / 'images'},{tmp_path / 'boxes.json'}"
    command = ["train-detector", "--config", str(tmp_path / "recipe.yaml")]
    command += ["--photographs", f"{data},{tmp_path / 'captions.json.gz'}"]
    command += ["--eval-photographs", data, "--out", str(tmp_path / "run"), *more]
    return CliRunner().invoke(main, command)


@pytest.mark.slow
def test_a_run_learns_is_evaluated_and_opens_as_a_detector(tmp_path):
    make_coco(tmp_path, count=8)
    result = train(tmp_path, "--iterations", "50", "--json")
    assert result.exit_code == 0, result.output
    lines = [line for line in result.output.splitlines() if line.startswith("{")]
    assert set(json.loads(lines[-1])["bbox"]) == {"AP", "AP50", "AP75", "AR", "AR_boxes"}
    (logged,) = map(json.loads, (tmp_path / "run" / "log.jsonl").read_text().splitlines())
    assert logged["step"] == 50
    assert logged["classes"] < 0.6 * np.log(3)  # of two classes and background, by guessing
    for spec in (f"photos:{tmp_path / 'run'}", f"onnx:{tmp_path / 'run' / 'detector.onnx'}"):
        detector = open_detector(spec, regions="5")
        (regions,) = detector.detect([np.full((60, 80, 3), 128, np.uint8)])
        assert detector.info.name == "photos"
        assert regions.features.shape == (5, 1280 + SMALL["box_width"])


@pytest.mark.slow
def test_a_folder_with_a_run_is_refused_unless_it_is_resumed(tmp_path):
    make_coco(tmp_path)
    assert train(tmp_path).exit_code == 0
    refused = train(tmp_path)
    assert refused.exit_code != 0
    assert "--resume" in refused.output
    assert train(tmp_path, "--resume").exit_code == 0


def test_a_folder_without_a_run_says_how_to_make_one(tmp_path):
    with pytest.raises(DataError, match=r"no recipe\.yaml(.|\n)*train-detector --config photos"):
        open_run(tmp_path)


def test_an_unknown_setting_of_a_recipe_is_named(tmp_path):
    (tmp_path / "r.yaml").write_text("optimiser: {steps: 3}")
    with pytest.raises(SettingsError, match=r"optimiser\.steps"):
        read_recipe(tmp_path / "r.yaml")
    assert read_recipe().network.trunk == "lite2"


def test_photographs_and_a_manifest_are_not_mixed(tmp_path):
    result = CliRunner().invoke(
        main, ["train-detector", "--out", str(tmp_path), "--config", "photos"]
    )
    assert result.exit_code != 0
    assert "--photographs FOLDER,BOXES" in result.output


class Perfect:
    """A detector that reads the answer from the data set."""

    def __init__(self, corners, order):
        self.corners, self.order = corners, iter(order)

    def detect(self, _pictures):
        name = next(self.order)
        return [
            DetectedRegions(
                features=np.zeros((1, 4), np.float32),
                boxes=np.array([self.corners[name]], np.float32),
                image_size=(60, 80),
                labels=np.array([int(name[0]) % 2]),
                scores=np.array([0.9], np.float32),
                attribute_scores=None,
                num_filled=0,
            )
        ]


def test_a_perfect_detector_has_ap_1(tmp_path):
    pytest.importorskip("pycocotools")
    corners = make_coco(tmp_path)
    detector = Perfect(corners, sorted(corners))
    measured = evaluate_detector(detector, tmp_path / "images", tmp_path / "boxes.json")
    assert measured == dict.fromkeys(("AP", "AP50", "AP75", "AR", "AR_boxes"), 1.0)
