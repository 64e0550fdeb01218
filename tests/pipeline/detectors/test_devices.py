"""`--device` means the same for detectors of ONNX Runtime and of torch."""

import onnxruntime
import pytest
import torch
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.detectors.devices import choose_device
from pipeline.errors import SettingsError


@pytest.fixture
def gpus(monkeypatch):
    """Say how many GPUs torch sees, and whether ONNX Runtime can use them."""

    def pretend(count, onnx=True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        providers = ["CUDAExecutionProvider"] * onnx + ["CPUExecutionProvider"]
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
        for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE"):
            monkeypatch.delenv(name, raising=False)

    return pretend


@pytest.mark.parametrize("library", ["torch", "onnxruntime"])
@pytest.mark.parametrize(
    ("name", "count", "device"),
    [
        ("auto", 0, "cpu"),
        ("auto", 2, "cuda:0"),
        ("cpu", 2, "cpu"),
        ("cuda", 2, "cuda:0"),
        ("cuda:1", 2, "cuda:1"),
    ],
)
def test_names_and_devices(gpus, library, name, count, device):
    gpus(count)
    assert choose_device(name, library) == device


def test_auto_takes_no_gpu_that_the_library_cannot_use(gpus):
    gpus(2, onnx=False)
    assert choose_device("auto", "onnxruntime") == "cpu"
    assert choose_device("auto", "torch") == "cuda:0"
    with pytest.raises(SettingsError, match=r"--device cuda:1 needs onnxruntime-gpu"):
        choose_device("cuda:1", "onnxruntime")


@pytest.mark.parametrize(
    ("name", "count", "says"),
    [
        ("cuda", 0, "--device cuda needs a GPU, torch finds none"),
        ("cuda:2", 2, "expected one of 2 GPUs for --device, counted from cuda:0, got cuda:2"),
        ("gpu", 2, "expected --device auto, cpu, cuda or cuda:NUMBER, got 'gpu'"),
        ("cuda:", 2, "cuda:NUMBER"),
    ],
)
def test_absent_devices_are_refused(gpus, name, count, says):
    gpus(count)
    with pytest.raises(SettingsError, match=says):
        choose_device(name, "torch")


def test_torchrun_gives_each_process_its_gpu(gpus, monkeypatch):
    gpus(2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert choose_device("auto", "torch") == choose_device("cuda", "torch") == "cuda:1"
    with pytest.raises(SettingsError, match="torchrun gives each process a GPU of its own"):
        choose_device("cuda:0", "torch")


@pytest.mark.parametrize("command", ["extract-regions", "show-regions", "train-detector"])
def test_every_command_with_a_network_takes_the_same_names(command):
    shown = CliRunner().invoke(main, [command, "--help"]).output
    assert "--device auto|cpu|cuda[:N]" in shown


def test_a_gpu_cannot_be_named_where_each_worker_gets_one(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(b"")
    result = CliRunner().invoke(
        main,
        ["extract-regions", "--images", str(tmp_path / "pictures"), "--out", str(tmp_path / "out"),
         "--gpus", "2", "--device", "cuda:1"],
    )  # fmt: skip
    assert result.exit_code == 2
    assert "--device cuda:1 cannot be given with it" in result.output
