import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.parsing.scene_graph.lexicon import Lexicon, canonical, singular, suffix_edits


def test_names_differ_from_words_only_where_listed():
    lexicon = Lexicon(objects={"guys": "people"}, attributes={"two": "2"})
    assert lexicon.object_name("Guys") == "people"
    assert lexicon.object_name("Fire  hydrant") == "fire hydrant"
    assert lexicon.attribute_name("two") == "2"
    assert lexicon.object_name("two") == "two"


def test_longest_suffix_decides_on_unknown_words():
    lexicon = Lexicon(lemmas={"lying": "lay"}, suffixes={"ing": (3, ""), "ving": (3, "e")})
    assert [lexicon.lemma(w) for w in ("lying", "walking", "driving", "on")] == [
        "lay",
        "walk",
        "drive",
        "on",
    ]


def test_edits_are_learned_from_pairs():
    pairs = [("riding", "ride"), ("hiding", "hide"), ("siding", "side"), ("walking", "walk")]
    pairs += [("talking", "talk"), ("looking", "look"), ("cooking", "cook")]
    lexicon = Lexicon(suffixes=suffix_edits(pairs))
    assert lexicon.lemma("booking") == "book"
    assert lexicon.lemma("gliding") == "glide"


@given(st.text(max_size=12))
def test_lemma_is_never_empty_for_a_word(word):
    lexicon = Lexicon(suffixes={"s": (1, ""), "ing": (3, ""), "ed": (2, "")})
    assert bool(lexicon.lemma(word)) == bool(word)


def test_json_gives_the_lexicon_back():
    lexicon = Lexicon({"guy": "person"}, {"two": "2"}, {"lying": "lay"}, {"ing": (3, "")})
    assert Lexicon.from_json(lexicon.to_json()) == lexicon


def test_canonical_ignores_spaces_hyphens_and_case():
    assert canonical("T-shirt") == canonical("t shirt") == canonical("tshirt")


@pytest.mark.parametrize(
    ("plural", "one"),
    [
        ("buses", "bus"),
        ("zebras", "zebra"),
        ("young women", "young woman"),
        ("benches", "bench"),
        ("glass", "glass"),
        ("bus", "bus"),
    ],
)
def test_singular(plural, one):
    assert singular(plural) == one
