"""Without a GPU, Triton's kernels run in its interpreter, in a process that asks for it."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]


@pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="this is the child process")
@pytest.mark.slow
@pytest.mark.timeout(1800)  # two minutes of work on an idle core
@pytest.mark.parametrize("kernel", ["graph_attention", "pair_scores"])
def test_triton_kernels_in_the_interpreter(tmp_path, kernel):
    report = tmp_path / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["-k", "interpreter", f"--junitxml={report}", str(HERE / kernel)]
    environment = os.environ | {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    child = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stdout[-5000:]
    suite = ET.parse(report).getroot().find("testsuite")
    assert suite is not None
    names = [case.get("name", "") for case in suite.iter("testcase")]
    ran = len([name for name in names if "triton-interpreter" in name])
    assert ran >= 30, f"only {ran} tests of the interpreted kernels ran"
    assert int(suite.get("skipped", "0")) < 17  # what only a card can have, or only other backends
