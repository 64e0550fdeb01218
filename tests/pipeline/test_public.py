"""`import pipeline`, `python -m pipeline` and `pipeline --version`."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

import pipeline
from pipeline.cli import main
from pipeline.errors import DataError


def run_python(*arguments):
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def test_all_names_exist_and_are_documented():
    for name in pipeline.__all__:
        assert name == "__version__" or getattr(pipeline, name).__doc__


def test_import_brings_no_package_of_others():
    code = "import sys, pipeline; print(*{name.partition('.')[0] for name in sys.modules})"
    assert not {"numpy", "spacy", "torch", "h5py", "click"} & set(run_python("-c", code).split())


def test_version_is_printed():
    expected = f"pipeline {pipeline.__version__}\n"
    assert CliRunner().invoke(main, ["--version"]).stdout == expected
    assert run_python("-m", "pipeline", "--version") == expected


def test_module_is_the_command_line():
    assert run_python("-m", "pipeline", "--help").startswith("Usage: pipeline [OPTIONS] COMMAND")


@pytest.mark.parametrize("text", ["", " ...", "рыжий кот"])
def test_a_text_without_english_words_is_refused(text):
    with pytest.raises(DataError, match="Give a caption in English"):
        pipeline.parse(text)
