"""Networks of one's own as ONNX: any number of proposals, any size, whatever it was traced with."""

import numpy as np
import onnx
import pytest
import torch
from marked import WIDTH, MarkedPixels, marked_image, marked_info
from torch import nn

from pipeline.detectors.exporting import export_network
from pipeline.detectors.onnx import OnnxNetwork
from pipeline.detectors.torch_backend import TorchNetwork, best_class_columns, clip_boxes

COUNTS = (0, 1, 7, 37, 300, 1000)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The network, and its file, traced with the one image that the exporter makes."""
    module = MarkedPixels().eval()
    path = tmp_path_factory.mktemp("exported") / "marked.onnx"
    export_network(module, marked_info(), path)
    return TorchNetwork(module, marked_info()), OnnxNetwork(path)


@pytest.mark.parametrize("count", COUNTS)
def test_the_number_of_proposals_is_not_that_of_the_example(exported, count):
    ours, theirs = exported
    image = marked_image(count)
    (expected,), (found,) = ours.start(image[None])(), theirs.start(image[None])()
    assert len(found.boxes) == count
    for name in ("boxes", "class_scores", "features", "attribute_scores"):
        assert np.allclose(getattr(found, name), getattr(expected, name), atol=1e-5), name


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (64, 31), (200, 40)])
def test_the_size_of_the_image_is_not_that_of_the_example(exported, size):
    ours, theirs = exported
    image = np.random.default_rng(0).integers(0, 256, (1, 3, *size)).astype(np.float32)
    (expected,), (found,) = ours.start(image)(), theirs.start(image)()
    assert np.allclose(found.boxes, expected.boxes, atol=1e-4)
    assert (found.boxes <= [size[1], size[0], size[1], size[0]]).all()


def test_a_batch_gives_each_image_its_own_proposals(exported):
    ours, theirs = exported
    batch = np.stack([marked_image(count) for count in (3, 0, 12)])
    for found, expected in zip(ours.start(batch)(), theirs.start(batch)(), strict=True):
        assert np.allclose(found.boxes, expected.boxes, atol=1e-5)
        assert np.allclose(found.features, expected.features, atol=1e-5)


def test_the_file_carries_the_metadata_and_needs_no_name_of_a_machine(tmp_path):
    path = tmp_path / "marked.onnx"
    size = export_network(MarkedPixels().eval(), marked_info(), path)
    assert size == path.stat().st_size
    assert OnnxNetwork(path).info == marked_info()
    assert list(tmp_path.iterdir()) == [path]
    assert str(tmp_path).encode() not in onnx.load(path).SerializeToString()


class Wide(MarkedPixels):
    """With weights that are worth halving."""

    def __init__(self):
        super().__init__()
        self.more = nn.Linear(WIDTH, 4096, bias=False)

    def forward(self, images_B3HW):
        found = super().forward(images_B3HW)
        return found._replace(features=found.features + self.more(found.features)[:, :WIDTH])


def test_half_weights_halve_the_file_and_change_little(tmp_path):
    module = Wide().eval()
    whole, half = tmp_path / "whole.onnx", tmp_path / "half.onnx"
    size = export_network(module, marked_info(), whole)
    assert export_network(module, marked_info(), half, half_weights=True) < 0.6 * size
    image = marked_image(20)[None]
    (expected,), (found,) = (OnnxNetwork(file).start(image)() for file in (whole, half))
    assert found.features.dtype == np.float32
    difference = np.abs(found.features - expected.features).max()
    assert 0 < difference < 2e-3 * np.abs(expected.features).max()


def test_the_box_of_the_most_probable_class_is_taken():
    boxes = torch.arange(24.0).reshape(2, 12)  # two proposals, three classes
    scores = torch.tensor([[0.1, 0.2, 0.7], [0.5, 0.2, 0.3]])
    assert best_class_columns(boxes, scores).tolist() == [[8, 9, 10, 11], [12, 13, 14, 15]]


def test_boxes_are_clipped_to_the_image():
    boxes = torch.tensor([[-3.0, -2.0, 50.0, 60.0], [5.0, 6.0, 7.0, 8.0]])
    assert clip_boxes(boxes, torch.zeros(1, 3, 40, 30)).tolist() == [[0, 0, 30, 40], [5, 6, 7, 8]]
