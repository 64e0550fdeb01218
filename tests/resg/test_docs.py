"""The commands and the Python of docs/search.md, docs/tutorial.md and docs/running.md run."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from resg.cli import main
from resg.run_folder import SHIPPED

DOCS = Path(__file__).parents[2] / "docs"
FROM_PAGES = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
QUERIES = {"a man riding a horse": "a red circle in front of a blue square"}
"""Sentences of the pages, and what is asked of a matcher that knows generated scenes alone."""


def blocks(page, language):
    text = (DOCS / page).read_text("utf-8")
    for sentence, other in QUERIES.items():
        text = text.replace(sentence, other)
    text = text.replace("a man beside a horse", "a red circle beside a blue square")
    text = text.replace("a dog in the snow", "a yellow star")
    return [code for own, code in FROM_PAGES.findall(text) if own == language]


@pytest.fixture
def holiday(picture_run, tmp_path, monkeypatch):
    """A folder with what the pages name: pictures, a run, its shards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(SHIPPED, "photos", picture_run.folder)
    (tmp_path / "holiday" / "trip").mkdir(parents=True)
    for number, picture in enumerate(picture_run.pictures[:6]):
        shutil.copy(picture, tmp_path / "holiday" / ("trip" if number % 2 else "."))
    shutil.copy(picture_run.pictures[6], tmp_path / "dog.jpg")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "first").symlink_to(picture_run.folder)
    (tmp_path / "shards").symlink_to(picture_run.shards)
    return tmp_path


@pytest.mark.parametrize("page", ["search.md", "tutorial.md", "running.md", "explain.md"])
def test_the_python_of_a_page_runs_block_after_block(holiday, page, capsys):
    values = {}
    code = blocks(page, "python")
    assert code
    for block in code:
        exec(compile(block, page, "exec"), values)
    assert capsys.readouterr().out


def test_the_commands_of_search_md_run_one_after_the_other(holiday):
    lines = [
        shlex.split(line, comments=True)
        for block in blocks("search.md", "")
        for line in block.splitlines()
    ]
    commands = [line[1:] for line in lines if line[:1] == ["resg"] and line[1] != "serve"]
    assert len(commands) >= 6
    for command in commands:
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 0, (command, done.output)
