import os
import subprocess
import sys

import pytest
import torch

from resg.devices import choose_device, device_name
from resg.errors import SettingsError


@pytest.fixture
def threads():
    """Four threads of PyTorch, given back after the test."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("cores", "expected"), [(1, 1), (2, 2), (64, 4)])
def test_a_container_of_few_cores_gets_no_more_threads(cores, expected, threads, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("dask.system.CPU_COUNT", cores)
    device = choose_device("cpu")
    assert torch.get_num_threads() == expected
    assert device_name(device) == f"cpu ({expected} thread{'s' if expected > 1 else ''})"


def test_omp_num_threads_wins(threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    monkeypatch.setattr("dask.system.CPU_COUNT", 2)
    choose_device("cpu")
    assert torch.get_num_threads() == 4


@pytest.mark.parametrize(
    ("name", "says"), [("gpu", "cuda:NUMBER, got 'gpu'"), ("cuda:0", "PyTorch sees none")]
)
def test_absent_devices_are_refused(name, says, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SettingsError, match=says):
        choose_device(name)


def test_torchrun_gives_each_process_its_gpu(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert choose_device("cuda") == choose_device("auto") == torch.device("cuda:1")
    with pytest.raises(SettingsError, match="expected --device cuda, got cuda:1"):
        choose_device("cuda:1")
    assert chosen == [torch.device("cuda:1")] * 2


@pytest.mark.parametrize(("given", "expected"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_of_the_command_line_sleep_while_they_wait_unless_told_otherwise(given, expected):
    environment = {n: v for n, v in os.environ.items() if n != "OMP_WAIT_POLICY"}
    if given:
        environment["OMP_WAIT_POLICY"] = given
    code = (
        "import os, sys, resg.cli; assert 'torch' not in sys.modules; "
        "print(os.environ['OMP_WAIT_POLICY'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.stdout.strip() == expected, done.stderr
