import pytest

from pipeline.parsing.rules.lemmas import progressive, verb_lemma
from pipeline.parsing.rules.quantities import number_string


@pytest.mark.parametrize(
    ("word", "lemma", "expected"),
    [
        ("riding", "rid", "ride"),
        ("sitting", "sit", "sit"),
        ("hung", "hung", "hang"),
        ("brushing", "brushe", "brush"),
        ("carries", "carry", "carry"),
        ("lying", "lie", "lay"),
        ("parked", "parked", "park"),
        ("unheardof", "unheardof", "unheardof"),
    ],
)
def test_lemma_is_right_where_the_lemmatiser_is_not(word, lemma, expected):
    assert verb_lemma(word, lemma) == expected


@pytest.mark.parametrize(
    ("word", "lemma", "expected"),
    [
        ("runs", "run", "running"),
        ("smiles", "smile", "smiling"),
        ("sits", "sit", "sitting"),
        ("flies", "fly", "flying"),
        ("sees", "see", "seeing"),
        ("flushed", "flush", "flushed"),
        ("sleeping", "sleep", "sleeping"),
    ],
)
def test_what_somebody_does_is_what_he_is_doing(word, lemma, expected):
    assert progressive(word, lemma) == expected


@pytest.mark.parametrize(
    ("word", "digits"),
    [("three", "3"), ("12", "12"), ("one", None), ("1", None), ("dog", None), ("²", None)],
)
def test_numbers_of_two_and_more_are_digits(word, digits):
    assert number_string(word) == digits
