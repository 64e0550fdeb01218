"""A `pipeline.py` beside a notebook is named in the error, whoever imports the package first."""

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2]


def run_in(folder, code):
    """What Python says on standard error when it starts in `folder`."""
    environment = os.environ | {"PYTHONPATH": f"{folder}:{SOURCES}"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    return done.stderr


@pytest.fixture(params=["pipeline.py", "pipeline/__init__.py"])
def shadow(request, tmp_path):
    path = tmp_path / request.param
    path.parent.mkdir(exist_ok=True)
    path.write_text("raise SystemExit('the other pipeline was imported')")
    return path


def test_resg_names_the_file_that_hides_its_package(shadow, tmp_path):
    error = run_in(tmp_path, "import resg")
    assert f"ImportError: resg needs its package pipeline, but {shadow} comes before it" in error
    assert "Rename that file or folder" in error


def test_spacy_names_the_file_that_hides_the_components(shadow, tmp_path):
    code = "from resg.spacy_factories import make_scene_graph"
    assert f"but {shadow} comes before it" in run_in(tmp_path, code)


def test_every_factory_of_spacy_is_found():
    ours = [e for e in entry_points(group="spacy_factories") if e.value.startswith("resg.")]
    if not ours:
        pytest.skip("the package is not installed, so it has no entry points")
    assert {entry.name for entry in ours} == {
        "caption_sentences",
        "scene_graph",
        "stepwise_parser",
        "word_lemmatizer",
    }
    assert all(callable(entry.load()) for entry in ours)


def test_the_package_itself_is_accepted(tmp_path):
    assert run_in(tmp_path, "import resg, pipeline; pipeline.read_regions") == ""
