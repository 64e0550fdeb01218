from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.parsing.rules.prepositions import (
    find_prepositions,
    preposition_name,
    preposition_table,
)
from pipeline.parsing.rules.schemes import CaptionTree

WORDS = ("the", "a", "in", "front", "on", "top", "of", "next", "to", "side", "left", "box")


def flat_tree(words):
    """Words that all hang under the first one."""
    return CaptionTree(
        words=list(words),
        lemmas=list(words),
        pos=["NOUN"] * len(words),
        heads=[0] * len(words),
        labels=["ROOT"] + ["dep"] * (len(words) - 1),
    )


@pytest.mark.parametrize(
    ("caption", "name"),
    [
        ("a tree in front of the house", "in front of"),
        ("a tree in front a house", "in front of"),
        ("a hat on top of a box", "on top of"),
        ("a hat at the top of a box", "on top of"),
        ("a cup next to a plate", "next to"),
        ("a car on the left side of the road", "at the left of"),
        ("a car to the right of the bus", "on the right side of"),
        ("trees on both sides of the road", "on both sides of"),
        ("trees on the other side of the road", "on side of"),
        ("a dog in the middle of a field", "on middle of"),
        ("a hand sticking out of a box", "out of"),
        ("a bird close to the water", "close to"),
        ("a man away from the crowd", "away from"),
        ("a boat across from the dock", "across from"),
        ("a cat inside of a box", "inside"),
        ("a shoe off of a shelf", "off"),
    ],
)
def test_prepositions_of_several_words_go_by_one_name(caption, name):
    words = caption.split()
    ((start, end, found),) = find_prepositions(flat_tree(words))
    assert found == name
    assert tuple(words[start:end]) in preposition_table()


def test_longest_preposition_is_taken():
    ((start, end, name),) = find_prepositions(flat_tree(["out", "in", "front", "of", "it"]))
    assert (start, end, name) == (0, 4, "in front of")


def test_open_preposition_needs_a_noun_phrase():
    assert find_prepositions(flat_tree(["the", "man", "in", "front"])) == []


def test_one_word_goes_by_its_name():
    assert preposition_name("beneath") == "under"
    assert preposition_name("on") == "on"


def test_table_has_at_least_forty_prepositions():
    assert len(set(preposition_table().values())) >= 40


@given(st.lists(st.sampled_from(WORDS)))
def test_found_prepositions_do_not_overlap(words):
    found = find_prepositions(flat_tree(words)) if words else []
    assert all(start < end for start, end, _ in found)
    assert all(a[1] <= b[0] for a, b in pairwise(found))
