import csv
import gzip

from pipeline.parsing.rules.lexicon import build_lexicon, lexicon

ROWS = [
    ("a tennis racket on a brick wall", "( tennis racket , on , wall ) , ( wall , is , brick )"),
    ("a brick wall", "( wall , is , brick )"),
    ("tennis racket", "( tennis racket )"),
    ("tree branches", "( tree , have , branches )"),
    ("the tree branches", "( tree , have , branches )"),
    ("a guy riding a surf board", "( person , ride , surfboard )"),
    ("guy on a surf board", "( person , on , surfboard )"),
]


def test_table_is_built_from_gold(tmp_path):
    gold = tmp_path / "gold.csv.gz"
    with gzip.open(gold, "wt", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("caption", "scene_graph"), *ROWS])
    rows = set(build_lexicon(gold))
    assert ("pair", "tennis racket", "name", "tennis racket") in rows
    assert ("modifier", "brick", "attribute", "") in rows
    assert ("pair", "tree branches", "have", "<") in rows
    assert ("pair", "surf board", "name", "surfboard") in rows
    assert ("verb", "ride", "", "") in rows


def test_table_that_ships_is_read():
    table = lexicon()
    assert table.pairs["fire", "hydrant"] == ("name", "fire hydrant")
    assert table.modifiers["brick"] == "attribute"
    assert table.words["guy"] == "person"
    assert table.attributes["wood"] == "wooden"
    assert "ride" in table.verbs
    assert table.worn["in", "shirt"] == "wear"
