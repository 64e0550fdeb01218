"""What detectron2 said, where it is not installed; make_golden.py made the files."""

from pathlib import Path

import numpy as np
from blocks import pictures

from pipeline.detectors.base import RegionDetector
from pipeline.detectors.checking import check_detector
from pipeline.detectors.onnx import OnnxNetwork
from pipeline.detectors.selection import Selection

GOLDEN = Path(__file__).with_name("golden")


def test_onnx_runtime_says_what_detectron2_said():
    network = OnnxNetwork(GOLDEN / "slim_c4.onnx")
    found = RegionDetector(network, Selection(12, 12), {}).detect(pictures())
    with np.load(GOLDEN / "slim_c4.npz") as golden:
        for k, regions in enumerate(found):
            assert np.abs(regions.boxes - golden[f"boxes{k}"]).max() < 1e-2
            expected = golden[f"features{k}"]
            assert np.abs(regions.features - expected).max() < 1e-3 * np.abs(expected).max()
            assert np.array_equal(regions.labels, golden[f"labels{k}"])
            assert np.abs(regions.scores - golden[f"scores{k}"]).max() < 1e-4
            assert np.abs(regions.attribute_scores - golden[f"attribute_scores{k}"]).max() < 1e-4


def test_a_class_specific_detector_keeps_the_contract_whatever_the_number_of_proposals():
    report = check_detector(GOLDEN / "slim_c4.onnx")
    assert report.is_ok, report.to_text()
