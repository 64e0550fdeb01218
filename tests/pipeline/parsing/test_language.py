"""Captions in other languages give one warning, English ones none."""

import gzip

import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.parsing.language import language_warning, unknown_share

FOREIGN = (
    "Zwei junge Männer stehen im Freien in der Nähe vieler Büsche.",
    "Deux jeunes hommes sont dehors près de buissons.",
    "Un hombre monta a caballo en la playa.",
    "Un uomo cavalca un cavallo sulla spiaggia.",
    "Een man rijdt op een paard op het strand.",
    "Dva mladí muži jsou venku poblíž mnoha keřů.",
)
ENGLISH = ("Two young men stand outside near many bushes.", "A snowboarder grinds a rail.")


@pytest.mark.parametrize("text", FOREIGN)
def test_foreign_caption_is_told_with_its_share_of_unknown_words(text):
    warning = language_warning([text])
    assert warning is not None
    assert f"{unknown_share(text):.0%} of their words are unknown" in warning


def test_english_captions_give_no_warning():
    assert language_warning(ENGLISH) is None
    assert language_warning([]) is None


def test_few_foreign_captions_among_many_are_counted():
    warning = language_warning(ENGLISH * 20 + FOREIGN[:2])
    assert warning is not None
    assert "2 of the 42 checked captions" in warning


def test_parse_captions_warns_once(tmp_path):
    captions = tmp_path / "captions.tsv"
    captions.write_text("".join(f"{i}.jpg#0\t{text}\n" for i, text in enumerate(FOREIGN)))
    command = ["parse-captions", "--captions", str(captions), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(main, [*command, "--workers", "1"])
    assert result.exit_code == 0, result.output
    assert result.output.count("do not look English") == 1


def test_show_caption_warns():
    result = CliRunner().invoke(main, ["show-caption", FOREIGN[0]])
    assert "do not look English" in result.output


@pytest.mark.real_data
def test_real_captions_give_no_warning(shared_data):
    with gzip.open(shared_data / "captions" / "flickr30k_train.tsv.gz", "rt") as stream:
        texts = [line.rstrip("\n").partition("\t")[2] for line in stream]
    assert language_warning(texts) is None
