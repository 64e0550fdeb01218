"""The commands offer the formats that there are."""

import pytest

from pipeline.commands.export_regions import export_regions
from pipeline.commands.import_regions import import_regions
from pipeline.errors import SettingsError
from pipeline.shards.convert.exporting import export_regions as export
from pipeline.shards.convert.formats import FORMATS, WRITTEN, format_named


@pytest.mark.parametrize(
    ("command", "formats"), [(import_regions, FORMATS), (export_regions, WRITTEN)]
)
def test_choices_are_the_formats(command, formats):
    (option,) = (p for p in command.params if p.name == "format_name")
    assert list(option.type.choices) == list(formats)


def test_a_format_that_is_read_alone_is_not_written(tmp_path, make_image, write_shards):
    write_shards(tmp_path / "s", [make_image("a")])
    with pytest.raises(SettingsError, match="hdf5 can be imported alone: expected one of scan"):
        export(tmp_path / "s", tmp_path / "x.h5", "hdf5")


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
