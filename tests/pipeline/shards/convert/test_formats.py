"""The commands offer the formats that there are."""

import pytest

from pipeline.commands.export_regions import export_regions
from pipeline.commands.import_regions import import_regions
from pipeline.errors import SettingsError
from pipeline.shards.convert.formats import FORMATS, format_named


@pytest.mark.parametrize("command", [import_regions, export_regions])
def test_choices_are_the_formats(command):
    (option,) = (p for p in command.params if p.name == "format_name")
    assert list(option.type.choices) == list(FORMATS)


def test_unknown_format_names_the_known():
    with pytest.raises(SettingsError, match="scan, butd-tsv, lxmert-tsv, npz"):
        format_named("tsv")


def test_unknown_format_is_a_usage_error(run, tmp_path):
    code, output = run("import-regions", "--format", "x", "--input", tmp_path, "--out", tmp_path)
    assert code == 2
    assert "'x' is not one of" in output


@pytest.mark.parametrize("command", ["import-regions", "export-regions"])
def test_help_shows_examples_line_by_line(command, run):
    code, output = run(command, "--help")
    assert code == 0
    assert "\\b" not in output
    assert f"\n    pipeline {command}" in output
