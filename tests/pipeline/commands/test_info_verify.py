"""pipeline info and pipeline verify, as a user calls them."""

import json
import os

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.shards.records import ImageRegions
from pipeline.shards.writer import write_shard


@pytest.fixture
def folder(tmp_path):
    images = [ImageRegions(f"img{k}", np.ones((4, 8), "f2")) for k in range(3)]
    write_shard(
        tmp_path / "regions-00000.h5",
        "regions",
        images,
        settings={},
        fingerprint={"detector": "a1b2"},
        split="train",
    )
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_info_counts_and_names_the_maker(folder):
    table = run("info", folder)
    assert table.exit_code == 0
    assert '{"detector": "a1b2"}' in table.output
    (summary,) = json.loads(run("info", folder, "--json").output)["summaries"]
    assert summary["counts"] == {"images": 3, "regions": 12, "relations": 0}


def test_verify_says_ok_or_exits_1_and_names_the_shard(folder):
    assert run("verify", folder, "--full").exit_code == 0
    assert json.loads(run("verify", folder, "--json").output)["ok"] is True

    os.truncate(folder / "regions-00000.h5", 100)
    broken = run("verify", folder)
    assert broken.exit_code == 1
    assert "regions-00000.h5" in broken.output
    assert "cut short" in " ".join(broken.output.split())
    problems = json.loads(run("verify", folder, "--json").output)["problems"]
    assert [(p["shard"], p["check"]) for p in problems] == [("regions-00000.h5", "file")]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("info", "nowhere"), 1, "expected a folder of shards, but nowhere is not a folder"),
        (("verify", "nowhere"), 1, "expected a folder of shards, but nowhere is not a folder"),
        (("verify", ".", "--root", "."), 2, "Give --manifest, too"),
        (("verify",), 2, "Missing argument 'SHARDS'"),
    ],
)
def test_errors_are_short_and_without_traceback(arguments, code, message):
    result = run(*arguments)
    assert result.exit_code == code
    assert message in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("command", ["info", "verify"])
def test_help_shows_an_example_on_its_own_line(command):
    assert f"\n    pipeline {command} data/" in run(command, "--help").output
