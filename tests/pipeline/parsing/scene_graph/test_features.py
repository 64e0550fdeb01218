import numpy as np

from pipeline.parsing.scene_graph.features import (
    ARC_KINDS,
    UNKNOWN,
    Phrases,
    Vocabulary,
    arc_codes,
    letter_rows,
)


def test_letter_rows_lie_in_the_table_and_differ():
    rows = letter_rows("sitting", 4096)
    assert min(rows) >= 1
    assert max(rows) <= 4096
    shared = set(rows) & set(letter_rows("siting", 4096))
    assert len(shared) > 5
    assert letter_rows("a", 4096)


def test_unknown_word_has_the_common_row():
    vocabulary = Vocabulary(["dog", "cat"])
    assert [vocabulary.row(w) for w in ("dog", "cat", "zebra")] == [
        UNKNOWN + 1,
        UNKNOWN + 2,
        UNKNOWN,
    ]
    assert len(vocabulary) == 4


def test_phrases_are_found_with_a_word_between():
    phrases = Phrases(["", "on side of", "in front of", "on"])
    words = ["dogs", "on", "the", "side", "of", "a", "road", "in", "front", "of", "it"]
    assert sorted(phrases.places(words)) == [(1, 1), (1, 3), (7, 2)]
    assert phrases.places(["on", "the", "red", "side", "of"]) == [(0, 3)]


def test_arc_codes_tell_the_ways_nodes_are_tied():
    # man riding horse fast: riding is the root
    heads, labels, num = np.array([1, 1, 1, 2]), np.array([1, 0, 2, 3]), 4
    first = last = np.array([0, 1, 2, 3])
    pairs = np.array([[0, 2], [1, 2], [2, 1], [1, 3], [3, 1], [0, 3], [0, 0]])
    codes = arc_codes(first, last, pairs, heads, labels, num)
    kinds = [-1 if code == 0 else int(code - 1) // num for code in codes]
    assert kinds == [4, 0, 1, 2, 3, -1, -1]
    assert codes[1] == 1 + labels[2]
    assert codes.max() <= ARC_KINDS * num
