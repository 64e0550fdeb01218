import json
from pathlib import Path

import pytest

from resg.config import RunSettings
from resg.errors import SettingsError
from resg.presets import load_settings, preset_names, setting_paths, settings_table


def test_presets_are_those_of_the_documentation():
    assert preset_names() == [
        "resg-bert",
        "resg-gru",
        "resg-no-edges",
        "scan-i2t",
        "scan-t2i",
        "vse++",
        "vse-inf",
    ]
    for name in preset_names():
        assert load_settings(name).preset == name


def test_the_preset_without_edges_differs_from_the_whole_one_in_edges_alone():
    whole, bare = (load_settings(name).model_dump() for name in ("resg-gru", "resg-no-edges"))
    for graph in ("visual_graph", "textual_graph"):
        assert whole["model"][graph].pop("edges")
        assert bare["model"][graph].pop("edges") == ()
    assert whole.pop("preset") != bare.pop("preset")
    assert whole == bare


def test_changes_are_read_as_yaml_and_the_last_one_counts():
    changes = (
        "train.epochs=3",
        "model.visual_graph.edges=[spatial]",
        "train.hard_batches=false",
        "train.epochs=4",
    )
    settings = load_settings("resg-gru", changes)
    assert settings.train.epochs == 4
    assert settings.model.visual_graph.edges == ("spatial",)
    assert settings.train.hard_batches is False
    assert settings.model.visual_graph.neighbours == 8  # its neighbours in the file stay


def test_a_preset_of_ones_own_is_a_yaml_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("model: {width: 64}\n")
    settings = load_settings(str(path))
    assert (settings.preset, settings.model.width) == ("mine", 64)
    path.write_text("model: {widht: 64}\n")
    with pytest.raises(SettingsError, match=r"'model\.widht'\. Did you mean model\.width\?"):
        load_settings(str(path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("train.epoch=3", r"no setting 'train\.epoch'\. Did you mean train\.epochs\?"),
        ("train.ramp_steps=9", r"'train\.ramp_steps' is now called 'train\.warmup_steps'"),
        ("train.decay_at=0.3", r"'train\.decay_at' is now called 'train\.decay_after'"),
        (
            "loss.warmup_epochs=3",
            r"'loss\.warmup_epochs' is now called 'loss\.hardest_after'",
        ),
        ("loss.hardest_after=never", "loss.hardest_after.*'recall'.*got 'never'"),
        ("epochs=3", r"no setting 'epochs'\. Did you mean train\.epochs\?"),
        ("loss.tripplet_margin=1", r"Did you mean loss\.triplet_margin\?"),
        ("train.epochs", "expected --set path=value"),
        ("train.epochs=many", r"train\.epochs: .*got 'many'"),
        ("train.epochs=0", r"train\.epochs: .*greater than or equal to 1"),
        ("model.width=100", "expected graph.heads to divide width, got 8 and 100"),
        ("model.text.encoder=lstm", "expected 'gru' or 'bert:NAME_OR_PATH', got 'lstm'"),
        ("model.visual_graph.edges=[left]", "'spatial', 'neighbours', 'all' or 'predicates'"),
        ("model.visual_graph.edges=left", "'spatial', 'neighbours', 'all' or 'predicates'"),
        ("model.visual_graph.edges=[spatial", r"expected YAML in --set model\.visual_graph\.edges"),
        ("preset=vse++", "Choose one with --preset"),
        ("loss.positive_margin=0.3", "expected positive_margin above negative_margin"),
    ],
)
def test_a_change_that_cannot_be_made_says_why(change, message):
    with pytest.raises(SettingsError, match=message):
        load_settings("resg-gru", [change])


def test_edges_are_none_one_kind_or_a_list_of_kinds():
    paths = ("model.visual_graph.edges", "model.textual_graph.edges")
    for value in ("none", "[]"):
        model = load_settings("resg-gru", [f"{path}={value}" for path in paths]).model
        assert model.visual_graph.edges == model.textual_graph.edges == ()
    model = load_settings("resg-no-edges", [f"{paths[0]}=predicates", f"{paths[1]}=arcs"]).model
    assert (model.visual_graph.edges, model.textual_graph.edges) == (("predicates",), ("arcs",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1, 2]", r"expected settings by name in .*mine\.yaml.*got \[1, 2\]"),
        ("model: [1", r"expected YAML in .*mine\.yaml"),
        ("model: 3", "expected settings by name in 'model', got 3"),
        ("train: {decay_at: 1}", r"'train\.decay_at' is now called 'train\.decay_after'"),
    ],
)
def test_a_file_that_is_no_preset_is_refused(content, message, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(SettingsError, match=message):
        load_settings(str(path), ["model.width=64"])


def test_the_settings_of_a_run_serve_as_a_preset(tmp_path):
    path = tmp_path / "mine.yaml"
    stored = load_settings("vse++", ["train.epochs=3"]).model_dump(mode="json")
    path.write_text(json.dumps(stored))
    settings = load_settings(str(path))
    assert settings.preset == "mine"
    assert settings.model_dump(mode="json") == {**stored, "preset": "mine"}


def test_a_matcher_that_compares_nothing_is_refused():
    with pytest.raises(SettingsError, match="expected embeddings or nodes"):
        load_settings("vse++", ["model.similarity.embeddings=false"])


def test_an_unknown_preset_is_answered_with_all_names():
    with pytest.raises(SettingsError, match=r"expected a preset \(resg-bert, .*got 'resg-gpt'"):
        load_settings("resg-gpt")


def test_settings_survive_the_run_folder():
    for name in preset_names():
        settings = load_settings(name, ["train.seed=7"])
        assert RunSettings.model_validate(settings.model_dump(mode="json")) == settings
    assert "model.similarity.node_pooling" in set(setting_paths())


def test_the_reference_page_lists_every_setting_as_it_is():
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    listed = page.partition("## All settings")[2].partition("|---|---|---|\n")[2].splitlines()
    # print("\n".join(settings_table())) from resg.presets gives the new rows
    assert listed == settings_table()
    names = [row.split("`")[1] for row in listed]
    assert names == list(setting_paths())
    assert all(row.count("|") == 4 and "None" not in row for row in listed)
