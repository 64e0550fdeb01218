"""The example of docs/captions.md runs as it stands."""

import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "captions.md"


@pytest.mark.skipif(
    "stepwise_parser" not in entry_points(group="spacy_factories").names,
    reason="the package is not installed, so spaCy does not know its components",
)
def test_example_runs():
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=PAGE.parents[1], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "man riding horse ('man', 'ride', 'horse') scene_graph",
        "man in front of barns ('man', 'in front of', 'barns') scene_graph",
        "man None young ('man', 'is', 'young') scene_graph",
        "barns None two ('barns', 'is', '2') scene_graph",
        "[(man, 'man'), (horse, 'horse'), (barns, 'barns')]",
    ]
