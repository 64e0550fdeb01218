"""Training on detectron2, a few steps of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.detectors.detectron2.training import TrainingSettings, training_config
from pipeline.detectors.instances import read_instances
from pipeline.detectors.specification import open_detector
from pipeline.errors import DataError
from pipeline.manifests.manifest import load_manifest


def test_boxes_and_attributes_are_read(scenes):
    items = load_manifest(scenes / "scenes.yaml").images(scenes)
    instances = read_instances(scenes / "instances.json", items)
    assert len(instances.records) == 20
    assert len(instances.classes) == 14
    assert dict(zip(instances.attributes, instances.groups, strict=True))["red"] == "colour"
    first = instances.records[0]["annotations"][0]
    assert {instances.groups[k] for k in first["attributes"]} == {
        "size",
        "texture",
        "colour",
        "sight",
    }


def test_attributes_may_be_plain_names_or_absent(tmp_path, scenes):
    items = load_manifest(scenes / "scenes.yaml").images(scenes)
    content = json.loads((scenes / "instances.json").read_text())
    content["attributes"] = [attribute["name"] for attribute in content["attributes"]]
    path = tmp_path / "plain.json"
    path.write_text(json.dumps(content))
    assert set(read_instances(path, items).groups) == {""}
    del content["attributes"]
    for annotation in content["annotations"]:
        del annotation["attributes"]
    path.write_text(json.dumps(content))
    assert read_instances(path, items).attributes == ()


def test_files_that_are_no_boxes_are_told(tmp_path, scenes):
    items = load_manifest(scenes / "scenes.yaml").images(scenes)
    with pytest.raises(DataError, match="--instances"):
        read_instances(tmp_path / "absent.json", items)
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(DataError, match="COCO"):
        read_instances(tmp_path / "list.json", items)
    content = json.loads((scenes / "instances.json").read_text())
    content["images"].pop()
    (tmp_path / "fewer.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="lists no picture"):
        read_instances(tmp_path / "fewer.json", items)


@pytest.mark.detectron2
@pytest.mark.parametrize("iterations", [1, 2, 3, 9, 90])
def test_a_short_run_has_steps_that_detectron2_takes(scenes, tmp_path, iterations):
    pytest.importorskip("detectron2", reason="detectron2 is not installed")
    from detectron2.solver import build_lr_scheduler

    items = load_manifest(scenes / "scenes.yaml").images(scenes)
    instances = read_instances(scenes / "instances.json", items)
    settings = TrainingSettings(config="r101-c4", iterations=iterations)
    config = training_config(instances, tmp_path, settings)
    weight = torch.zeros(1, requires_grad=True)
    build_lr_scheduler(config, torch.optim.SGD([weight], lr=0.1))
    assert all(0 < step < iterations for step in config.SOLVER.STEPS)
    assert len(config.SOLVER.STEPS) == 2 or iterations < 9


@pytest.mark.slow
@pytest.mark.detectron2
@pytest.mark.filterwarnings("ignore")
def test_a_run_is_trained_resumed_and_exported(scenes, tmp_path):
    pytest.importorskip("detectron2", reason="detectron2 is not installed")
    run = tmp_path / "run"
    command = [
        "train-detector", "--manifest", scenes / "scenes.yaml", "--root", scenes, "--out", run,
        "--batch", 2, "--loader-workers", 0, "--json",
    ]  # fmt: skip

    def train(*more):
        return CliRunner().invoke(main, [str(a) for a in (*command, *more)])

    first = train("--iterations", 2)
    assert first.exit_code == 0, first.output
    metrics = json.loads((run / "evaluation.json").read_text())
    assert {"AP50", "AP"} <= set(metrics["bbox"])
    assert "right colour" in metrics["attributes"]
    again = train("--iterations", 2)
    assert again.exit_code == 2
    assert "--resume" in again.output
    resumed = train("--iterations", 4, "--resume")
    assert resumed.exit_code == 0, resumed.output
    # counted from 0, and so the fourth step of one run
    assert torch.load(run / "model_final.pth", weights_only=True)["iteration"] == 3
    spec = f"detectron2:{run / 'config.yaml'},{run / 'model_final.pth'}"
    exported = CliRunner().invoke(
        main, ["export-detector", "--detector", spec, "--out", str(tmp_path / "small.onnx")]
    )
    assert exported.exit_code == 0, exported.output
    assert "14 classes, 17 attributes, features of width 256" in exported.output


@pytest.mark.slow
@pytest.mark.detectron2
def test_two_processes_train_one_detector(scenes, tmp_path):
    pytest.importorskip("detectron2", reason="detectron2 is not installed")
    run = tmp_path / "run"
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2,
        "--no-python", sys.executable, "-c", "from pipeline.cli import main; main()",
        "train-detector", "--manifest", scenes / "scenes.yaml", "--root", scenes, "--out", run,
        "--batch", 4, "--iterations", 3, "--loader-workers", 0, "--json",
    ]  # fmt: skip
    here = {"PYTHONPATH": str(Path(__file__).parents[4]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [str(part) for part in command], env=os.environ | here, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (told,) = [line for line in done.stdout.splitlines() if line.startswith("{")]  # of one of them
    assert json.loads(told)["bbox"].keys() >= {"AP", "AP50"}
    assert torch.load(run / "model_final.pth", weights_only=True)["iteration"] == 2
    open_detector(f"detectron2:{run / 'config.yaml'},{run / 'model_final.pth'}")
