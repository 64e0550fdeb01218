"""The way from a folder of pictures to an evaluated run, as docs/inputs.md and README tell it."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from pipeline.cli import main as pipeline
from resg.cli import main as resg

ROOT = Path(__file__).parents[2]
PROGRAMS = {"pipeline": pipeline, "resg": resg}
SMALL = ["--set", "model.width=32", "--set", "train.epochs=1", "--set", "train.batch_size=8"]


def command_lines(page, heading):
    """The commands of the first block below a heading, without comments."""
    section = page.partition(f"{heading}\n")[2]
    block = re.search(r"(?:^(?: {4}|pipeline |resg ).*\n)+", section, re.MULTILINE)
    return [shlex.split(line, comments=True) for line in block[0].splitlines()]


@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    """Twenty pictures of noise, some in a subfolder, with one to three captions each."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos" / "trip").mkdir(parents=True)
    random = np.random.default_rng(0)
    lines = ["image,caption"]
    for number in range(20):
        name = f"trip/{number}.jpg" if number % 2 else f"{number}.png"
        blocks = random.integers(0, 256, (3, 4, 3), np.uint8)
        Image.fromarray(blocks).resize((80, 60)).save(tmp_path / "photos" / name)
        lines += [f"{name},a dog on bench {number}"] * (1 + number % 3)
    (tmp_path / "captions.csv").write_text("\n".join(lines))
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "heading"), [("docs/inputs.md", "## From a folder to an evaluated run")]
)
def test_the_lines_of_a_page_run_one_after_the_other(own_folder, page, heading):
    lines = command_lines((ROOT / page).read_text(encoding="utf-8"), heading)
    assert [line[1] for line in lines] == [
        "extract-regions", "parse-captions", "verify", "split", "train", "evaluate"]  # fmt: skip
    for program, command, *options in lines:
        options += SMALL if command == "train" else ["--json"] if command == "evaluate" else []
        done = CliRunner().invoke(PROGRAMS[program], [command, *options])
        assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout)
    assert figures["i2t"]["queries"] == 2
    assert 2 <= figures["t2i"]["queries"] <= 6
