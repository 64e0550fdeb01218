import gzip

import pytest

from pipeline.errors import DataError
from pipeline.parsing.score import (
    Scores,
    parse_scene_graph,
    read_gold,
    score,
    spice_f1,
    spice_tuples,
)


@pytest.mark.parametrize(
    ("text", "triples"),
    [
        (
            "( dog , sit on , bench ) , ( bench , is , green )",
            (("dog", "sit on", "bench"), ("bench", "is", "green")),
        ),
        ("( pole )", (("pole",),)),
        (
            "(dog,sit on,bench),(bench,is,green)",
            (("dog", "sit on", "bench"), ("bench", "is", "green")),
        ),
        ("( crowd , is , 1,000 )", (("crowd", "is", "1,000"),)),
        ("( t-shirt ,  say , i ♥  ny )", (("t-shirt", "say", "i ♥ ny"),)),
        ("", ()),
    ],
)
def test_scene_graph_is_read(text, triples):
    assert parse_scene_graph(text) == triples


@pytest.mark.parametrize(
    "text", ["dog , on , bench", "( dog , on )", "( dog , , bench )", "( a , b , c , d )"]
)
def test_what_is_no_scene_graph_is_refused(text):
    with pytest.raises(ValueError, match="expected"):
        parse_scene_graph(text)


def test_attribute_gives_no_object_of_its_own():
    triples = [("dog", "sit on", "bench"), ("bench", "is", "green")]
    assert spice_tuples(triples) == {
        ("dog",),
        ("bench",),
        ("bench", "green"),
        ("dog", "sit on", "bench"),
    }


def test_spice_f1_by_hand():
    gold = [("dog", "sit on", "bench"), ("bench", "is", "green")]  # 4 tuples
    parsed = [("dog", "on", "bench")]  # 3 tuples, 2 of them gold's
    assert spice_f1(parsed, gold) == pytest.approx(2 * 2 / (3 + 4))
    assert spice_f1([], gold) == 0.0
    assert spice_f1([], []) == 1.0


def test_order_case_and_repetition_do_not_matter():
    gold = [("Dog", "on", "bench"), ("bench", "is", "green")]
    parsed = [("bench", "is", "Green"), ("dog", "on", "bench"), ("dog", "on", "bench")]
    assert score([parsed], [gold]) == Scores(100.0, 100.0, 1)


def test_object_alone_that_gold_lacks_breaks_set_match_not_f1():
    parsed, gold = [("man", "ride", "horse"), ("horse",)], [("man", "ride", "horse")]
    assert score([parsed], [gold]) == Scores(0.0, 100.0, 1)


def test_scores_are_means_over_captions():
    gold = [[("pole",)], [("man", "wear", "hat")]]
    parsed = [[("pole",)], [("man", "in", "hat")]]  # 2 of 3 tuples are gold's
    assert score(parsed, gold).set_match == 50.0
    assert score(parsed, gold).spice_f1 == pytest.approx(100 * (1 + 2 / 3) / 2)


def test_nothing_to_score_is_refused():
    with pytest.raises(ValueError, match="captions"):
        score([], [])
    with pytest.raises(ValueError, match="captions"):
        score([[("pole",)]], [])


def test_gold_file_is_read_plain_and_packed(tmp_path):
    rows = 'image_id,region_id,caption,scene_graph\n1,2,"a red, old pole","( pole , is , red )"\n'
    plain, packed = tmp_path / "gold.csv", tmp_path / "gold.csv.gz"
    plain.write_text(rows)
    packed.write_bytes(gzip.compress(rows.encode()))
    for path in (plain, packed):
        (gold,) = read_gold(path)
        assert gold.caption == "a red, old pole"
        assert gold.triples == (("pole", "is", "red"),)


def test_bad_gold_file_says_where(tmp_path):
    path = tmp_path / "gold.csv"
    path.write_text('caption,scene_graph\na pole,( pole )\na dog,"( dog , on )"\n')
    with pytest.raises(DataError, match="line 3"):
        list(read_gold(path))
    path.write_text("text,graph\na,b\n")
    with pytest.raises(DataError, match="no column caption, scene_graph"):
        list(read_gold(path))
