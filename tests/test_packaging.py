"""The metadata of the distribution says what is inside."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_metadata_names_both_licences(tmp_path):
    command = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    metadata = (tmp_path / "resg.egg-info" / "PKG-INFO").read_text().splitlines()
    assert "License-Expression: MIT AND CC-BY-SA-4.0 AND LicenseRef-Research-Use" in metadata
    assert {"License-File: LICENSE", "License-File: NOTICE"} <= set(metadata)
