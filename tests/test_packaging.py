"""The metadata of the distribution says what is inside."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_the_metadata_names_both_licences(tmp_path):
    command = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    metadata = (tmp_path / "resg.egg-info" / "PKG-INFO").read_text().splitlines()
    assert "License-Expression: MIT AND CC-BY-SA-4.0 AND LicenseRef-Research-Use" in metadata
    assert {"License-File: LICENSE", "License-File: NOTICE"} <= set(metadata)


def test_a_built_package_has_all_files_of_both_folders(tmp_path):
    command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    for package in ("pipeline", "resg"):
        listed = subprocess.run(
            ["git", "ls-files", package], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if listed.returncode:
            pytest.skip("the sources are no git checkout")
        missing = [name for name in listed.stdout.split() if not (tmp_path / name).exists()]
        assert missing == []
