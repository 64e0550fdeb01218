import pytest
import spacy

from pipeline.errors import DataError, SettingsError
from pipeline.parsing import parser
from pipeline.parsing.parser import load_parser, model_fingerprint


def test_folder_is_loaded_and_ends_in_the_component(model_folder):
    nlp = load_parser(str(model_folder))
    assert nlp.pipe_names == ["chain_parser", "scene_graph"]


def test_unknown_name_lists_what_is_installed(monkeypatch):
    monkeypatch.setattr(spacy.util, "get_installed_models", lambda: ["en_core_web_md"])
    with pytest.raises(SettingsError, match=r"'en_nothing'.*en_core_web_md.*spacy download"):
        load_parser("en_nothing")


def test_no_model_says_how_to_get_one(monkeypatch, tmp_path):
    monkeypatch.setattr(parser, "EMBEDDED_FOLDER", tmp_path / "absent")
    monkeypatch.setattr(spacy.util, "is_package", lambda name: False)
    with pytest.raises(SettingsError, match=r"no model.*spacy download"):
        load_parser()


def test_model_without_parser_says_so(tmp_path):
    spacy.blank("en").to_disk(tmp_path)
    with pytest.raises(DataError, match="lacks a component: parser"):
        load_parser(str(tmp_path))


def test_folder_without_a_model_says_what_is_missing(tmp_path):
    with pytest.raises(SettingsError, match=r"config\.cfg"):
        load_parser(str(tmp_path))


def test_model_of_another_language_is_refused(tmp_path):
    spacy.blank("de").to_disk(tmp_path)
    with pytest.raises(DataError, match="English"):
        load_parser(str(tmp_path))


def test_fingerprint_follows_the_files(model_folder, tmp_path):
    first = model_fingerprint(load_parser(str(model_folder)))
    nlp = spacy.load(model_folder)
    nlp.meta["description"] = "another"
    nlp.to_disk(tmp_path)
    assert model_fingerprint(load_parser(str(model_folder))) == first
    assert model_fingerprint(load_parser(str(tmp_path)))["digest"] != first["digest"]


def test_fingerprint_heeds_no_card(model_folder, tmp_path):
    spacy.load(model_folder).to_disk(tmp_path)
    first = model_fingerprint(load_parser(str(tmp_path)))
    (tmp_path / "README.md").write_text("What the model is.")
    assert model_fingerprint(load_parser(str(tmp_path))) == first
