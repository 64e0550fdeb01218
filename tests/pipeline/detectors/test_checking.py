"""check-detector: what is wrong with a file is named, and what keeps the contract passes."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from marked import MarkedPixels, marked_info
from onnx import TensorProto, helper
from PIL import Image

from pipeline.cli import main
from pipeline.detectors.checking import check_detector
from pipeline.detectors.exporting import export_network
from pipeline.detectors.onnx import METADATA_KEY, OnnxNetwork
from pipeline.detectors.specification import embedded_file
from pipeline.detectors.torch_backend import Proposals
from pipeline.errors import DataError

ROOT = Path(__file__).parents[3]


def faults(report):
    return [finding.text for finding in report.findings if finding.level == "FAULT"]


def exported(path, module=None, **changes):
    export_network((module or MarkedPixels()).eval(), marked_info(**changes), path)
    return path


def test_the_embedded_detector_keeps_the_contract():
    report = check_detector(embedded_file("scenes"))
    assert report.is_ok, report.to_text()
    assert "1 x 1 pixels" in report.to_text()


def test_a_network_of_ones_own_keeps_the_contract(tmp_path):
    file = exported(tmp_path / "marked.onnx")
    Image.new("RGB", (60, 40), "white").save(tmp_path / "white.png")
    command = ["check-detector", str(file), "--image", str(tmp_path / "white.png")]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    for text in ("name: marked", "domain: marked pixels", "no reshape has a fixed", "60 x 40"):
        assert text in result.output
    told = json.loads(CliRunner().invoke(main, [*command, "--json"]).output)
    assert told["is_ok"]
    assert {"level": "ok", "text": "name: marked"} in told["findings"]


class BakedRows(MarkedPixels):
    """Picks each proposal's box after a reshape to the number that it was traced with."""

    def forward(self, images_B3HW):
        found = super().forward(images_B3HW)
        of_classes = found.boxes.view(len(found.boxes), -1, 4)
        first = torch.zeros_like(found.class_scores[:, :1, None], dtype=torch.int64)
        return found._replace(boxes=of_classes.gather(1, first.expand(-1, 1, 4)).squeeze(1))


def test_a_number_of_proposals_that_tracing_stored_is_named(tmp_path):
    file = exported(tmp_path / "baked.onnx", BakedRows())
    told = "\n".join(faults(check_detector(file)))
    assert "rows were the example's number of proposals" in told
    assert "fails on a picture" in told
    with pytest.raises(DataError, match=r"fails on a picture of 9 x 9 pixels(.|\n)*Export it"):
        OnnxNetwork(file).start(np.full((1, 3, 9, 9), 255, np.float32))()


class Wrong(MarkedPixels):
    """Gives what a test says in place of the right answer."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    def forward(self, images_B3HW):
        return self.change(super().forward(images_B3HW))


def logits(found: Proposals):
    return found._replace(class_scores=found.class_scores * 9 - 4)


def outside(found: Proposals):
    return found._replace(boxes=found.boxes + 1000)


def swapped(found: Proposals):
    return found._replace(boxes=found.boxes.flip(1))


def infinite(found: Proposals):
    return found._replace(features=found.features / 0.0)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (logits, "class_scores should be probabilities, they lie in"),
        (outside, "boxes leave the picture"),
        (swapped, "boxes should be x0, y0, x1, y1"),
        (infinite, "features holds numbers that are not finite"),
    ],
)
def test_answers_that_break_the_contract_are_named(change, expected, tmp_path):
    report = check_detector(exported(tmp_path / "wrong.onnx", Wrong(change)))
    assert any(expected in text for text in faults(report)), report.to_text()


def test_a_wrong_class_count_and_missing_metadata_are_named(tmp_path):
    file = exported(tmp_path / "marked.onnx")
    model = onnx.load(file)
    content = marked_info(classes=("a", "b")).model_dump_json()
    helper.set_model_props(model, {METADATA_KEY: content})
    onnx.save(model, file)
    report = check_detector(file)
    assert faults(report) == ["the network gives 3 columns of class_scores, its metadata says 2"]
    helper.set_model_props(model, {})
    onnx.save(model, file)
    assert METADATA_KEY in faults(check_detector(file))[0]
    assert CliRunner().invoke(main, ["check-detector", str(file)]).exit_code == 1


def test_fixed_sizes_are_named(tmp_path):
    rows = [helper.make_tensor_value_info("image", TensorProto.FLOAT, [3, 8, 8])]
    names = {"boxes": 4, "class_scores": 3, "features": 6, "attribute_scores": 2}
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [5, width])
        for name, width in names.items()
    ]
    nodes = [
        helper.make_node(
            "Constant", [], [name],
            value=helper.make_tensor(name, TensorProto.FLOAT, [5, width], np.zeros(5 * width)),
        )
        for name, width in names.items()
    ]  # fmt: skip
    graph = helper.make_graph(nodes, "fixed", rows, values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
    helper.set_model_props(model, {METADATA_KEY: marked_info().model_dump_json()})
    onnx.save(model, tmp_path / "fixed.onnx")
    told = "\n".join(faults(check_detector(tmp_path / "fixed.onnx")))
    assert "takes pictures of [8, 8] pixels alone" in told
    assert "gives 5 rows of boxes whatever the picture" in told


def example():
    """The program in docs/regions.md."""
    text = (ROOT / "docs" / "regions.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return program


def test_the_example_of_the_documentation_runs_and_passes(tmp_path):
    program = example()
    assert len(program.splitlines()) <= 40
    (tmp_path / "export_mine.py").write_text(program)
    command = [sys.executable, "-W", "ignore", "export_mine.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    report = check_detector(tmp_path / "mine.onnx")
    assert report.is_ok, report.to_text()
    assert torch.tensor([finding.level == "ok" for finding in report.findings]).all()
