import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.manifests.caption_text import MAX_WORDS, caption_fault, clean_text, fault_of


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("  a  man \t riding\na horse ", "a man riding a horse"),
        ("A MAN RIDING A HORSE.", "a man riding a horse."),
        ("A man", "A man"),
        ("<p>a <b>red</b> bus</p>", "a red bus"),
        ("salt &amp; pepper", "salt & pepper"),
        ("5 < 6 and 7 > 3", "5 < 6 and 7 > 3"),
        ("a\x00man\x07and\u200ba\u202edog", "a man and a dog"),
        ("\u00a0a caf\u00e9", "a caf\u00e9"),
        ("a dog 🐶", "a dog 🐶"),
    ],
)
def test_text_is_cleaned(text, cleaned):
    assert clean_text(text) == cleaned


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" \n\x00", "empty"),
        ("...!?", "no word"),
        ("🐶🐶", "no word"),
        ("123", "no word"),
        ("رجل يركب حصانا", "not in Latin letters"),
        ("word " * 10_000, "10,000 words"),
        ("w" * 100_000, "at most"),
        ("a dog \ud83d", "surrogate"),
    ],
)
def test_caption_that_cannot_be_parsed_says_why(text, reason):
    assert reason in (fault_of(clean_text(text)) or "")


@pytest.mark.parametrize("text", ["a man", "ein Café", "a 🐶 dog", "word " * MAX_WORDS])
def test_caption_that_can_be_parsed_has_no_fault(text):
    assert fault_of(clean_text(text)) is None


@given(st.text())
def test_cleaning_twice_changes_nothing_more(text):
    once = clean_text(text)
    if "&" not in text and "<" not in text:  # an entity may unfold into another
        assert clean_text(once) == once


@given(st.text(alphabet=st.characters(codec=None)))
def test_no_text_raises(text):
    fault_of(clean_text(text))


def test_a_text_that_is_too_long_in_few_words_is_counted_in_characters():
    assert caption_fault("dog" * 7_000) == (
        "the caption has 21,000 characters; at most 20,000 are parsed"
    )
