import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.parsing.scene_graph.normal_forms import NormalForms, canonical, singular, suffix_edits


def test_names_differ_from_words_only_where_listed():
    normal_forms = NormalForms(objects={"guys": "people"}, attributes={"two": "2"})
    assert normal_forms.object_name("Guys") == "people"
    assert normal_forms.object_name("Fire  hydrant") == "fire hydrant"
    assert normal_forms.attribute_name("two") == "2"
    assert normal_forms.object_name("two") == "two"


def test_longest_suffix_decides_on_unknown_words():
    normal_forms = NormalForms(lemmas={"lying": "lay"}, suffixes={"ing": (3, ""), "ving": (3, "e")})
    assert [normal_forms.lemma(w) for w in ("lying", "walking", "driving", "on")] == [
        "lay",
        "walk",
        "drive",
        "on",
    ]


def test_edits_are_learned_from_pairs():
    pairs = [("riding", "ride"), ("hiding", "hide"), ("siding", "side"), ("walking", "walk")]
    pairs += [("talking", "talk"), ("looking", "look"), ("cooking", "cook")]
    normal_forms = NormalForms(suffixes=suffix_edits(pairs))
    assert normal_forms.lemma("booking") == "book"
    assert normal_forms.lemma("gliding") == "glide"


@given(st.text(max_size=12))
def test_lemma_is_never_empty_for_a_word(word):
    normal_forms = NormalForms(suffixes={"s": (1, ""), "ing": (3, ""), "ed": (2, "")})
    assert bool(normal_forms.lemma(word)) == bool(word)


def test_json_gives_the_normal_forms_back():
    normal_forms = NormalForms({"guy": "person"}, {"two": "2"}, {"lying": "lay"}, {"ing": (3, "")})
    assert NormalForms.from_json(normal_forms.to_json()) == normal_forms


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
