"""Commands of README.md and docs/: all have options that exist, and all run that are not marked.

A block of commands that needs what the tests do not have stands below `<!-- not run: REASON -->`.
`tests/resg/test_docs.py` runs those of docs/search.md, and the Python of some pages.
"""

import json
import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import pipeline.cli
import resg.cli
from resg.run_folder import SHIPPED

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
GROUPS = {"pipeline": pipeline.cli.main, "resg": resg.cli.main}
MARK = re.compile(r"<!-- not run: (.+) -->")
SMALL = ("model.width=16", "train.epochs=1", "train.batch_size=8")
SMALLER = {"--images 2000": "--images 24"}
"""What a page asks for, and what is enough for a test."""

MAKES_SHARDS = ("README.md", "inputs.md", "running.md")
"""Pages whose commands make the folder `shards`; on the others it is there."""


@dataclass(frozen=True)
class Documented:
    """A command of a page.

    Attributes:
        page: its file.
        text: the command, without a comment.
        reason: why it is not run; empty where it is.
    """

    page: Path
    text: str
    reason: str = ""

    @property
    def words(self):
        return [word for word in shlex.split(self.text, comments=True) if word != "..."]


def blocks_of(page):
    """The code blocks of a page without a language, fenced or indented, and the mark of each."""
    mark, block, fence, was_blank = "", [], None, True
    for line in [*page.read_text("utf-8").splitlines(), "end"]:
        if fence is not None:
            if line.startswith("```"):
                if fence in ("", "bash"):
                    yield "\n".join(block), mark
                block, fence, mark = [], None, ""
            else:
                block.append(line)
        elif line.startswith("```"):
            fence = line.removeprefix("```")
        elif line.startswith("    ") and (block or was_blank):
            block.append(line.strip())
        else:
            if block and line:
                yield "\n".join(block), mark
                block, mark = [], ""
            if found := MARK.fullmatch(line):
                mark = found[1]
        was_blank = not line or line.startswith("    ")


def commands_of(page):
    for block, mark in blocks_of(page):
        if "-->" in block:  # a drawing
            continue
        for line in block.replace("\\\n", " ").splitlines():
            for part in line.partition(" # ")[0].split("; "):
                if part.strip().partition(" ")[0] in GROUPS:
                    yield Documented(page, part.strip(), mark)


COMMANDS = [command for page in PAGES for command in commands_of(page)]


def test_commands_are_found_in_both_kinds_of_blocks():
    texts = {(command.page.name, command.text) for command in COMMANDS}
    assert ("README.md", "resg evaluate --run runs/first") in texts
    assert (
        "regions.md",
        "pipeline show-regions photos/beach.jpg --regions 36 --out regions.png",
    ) in texts
    assert len(COMMANDS) > 60


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.text)
def test_commands_and_options_exist(command):
    program, *words = command.words
    group = GROUPS[program]
    context = click.Context(group, info_name=program)
    name, found, rest = group.resolve_command(context, words)
    found.make_parser(click.Context(found, info_name=name)).parse_args(list(rest))


@pytest.fixture
def desk(page, picture_run, tmp_path, monkeypatch):
    """A folder with the files that the pages name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(SHIPPED, "photos", picture_run.folder)
    for folder in ("photos", "holiday"):
        (tmp_path / folder).mkdir()
        for picture in picture_run.pictures[:10]:
            shutil.copy(picture, folder)
    shutil.copy(picture_run.pictures[10], "photos/beach.jpg")
    shutil.copy(picture_run.pictures[0], "dog.jpg")
    names = [*(picture.name for picture in picture_run.pictures[:10]), "beach.jpg"]
    captions = [(name, f"a red circle above {k} blue squares") for name in names for k in range(5)]
    csv = "".join(f"{name},{text}\n" for name, text in captions)
    Path("captions.csv").write_text(f"image,caption\n{csv}")
    for file in ("captions.tsv", "holiday.tsv"):
        lines = (f"{name}#{k % 5}\t{text}\n" for k, (name, text) in enumerate(captions))
        Path(file).write_text("".join(lines))
    for run in ("first", "a", "b"):
        shutil.copytree(picture_run.folder, tmp_path / "runs" / run)
    shutil.copytree(picture_run.shards, tmp_path / "data" / "shards")
    if page.name not in MAKES_SHARDS:
        shutil.copytree(picture_run.shards, tmp_path / "shards")
    pairs = picture_run.pictures[0].parents[1] / "hard_pairs.json"
    (tmp_path / "data" / "scenes").mkdir()
    shutil.copy(pairs, "data/scenes/hard_pairs.json")
    saved = ["evaluate", "--run", "runs/first", "--save-matrix", "scores.npy"]
    assert CliRunner().invoke(resg.cli.main, saved).exit_code == 0
    ids = json.loads(Path("scores.ids.json").read_text())
    Path("owners.txt").write_text("".join(f"{row}\n" for row in ids["image_of_caption"]))
    return tmp_path


RUN = {
    page: [command for command in COMMANDS if command.page == page and not command.reason]
    for page in PAGES
    if page.name != "search.md"
}


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in RUN if RUN[page]], ids=lambda page: page.stem)
def test_commands_of_a_page_run_one_after_the_other(page, desk):
    for command in RUN[page]:
        text = command.text
        for long, short in SMALLER.items():
            text = text.replace(long, short)
        program, name, *rest = Documented(page, text).words
        if name in ("train", "make-scenes"):
            shutil.rmtree(rest[rest.index("--out") + 1], ignore_errors=True)
        if name == "train":
            rest += [word for setting in SMALL for word in ("--set", setting)]
        done = CliRunner().invoke(GROUPS[program], [name, *rest])
        assert done.exit_code == 0, (command.text, done.output)
