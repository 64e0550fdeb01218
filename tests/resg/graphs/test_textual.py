from hypothesis import given
from hypothesis import strategies as st

from pipeline.shards.records import CaptionSpan, CaptionTriple, ParsedCaption
from resg.graphs.textual import span_head, textual_edges


def caption(triples=(), objects=((0, 2, "red dog"), (3, 4, "man"))):
    """`red dog chases man`: dog is the subject, red its modifier, man the object."""
    return ParsedCaption(
        "i#0",
        "i",
        "red dog chases man",
        forms=("red", "dog", "chases", "man"),
        lemmas=("red", "dog", "chase", "man"),
        pos=("ADJ", "NOUN", "VERB", "NOUN"),
        heads=(1, 2, 2, 2),
        deprels=("amod", "nsubj", "ROOT", "obj"),
        objects=tuple(CaptionSpan(*o) for o in objects),
        triples=tuple(triples),
    )


def without_self(edges):
    loops = {place: names for place, names in edges.items() if place[0] == place[1]}
    assert all(names == ["self"] for names in loops.values())
    return {place: names for place, names in edges.items() if place not in loops}


def test_every_word_has_an_edge_to_itself():
    edges = textual_edges(caption(), ("triples",))
    assert edges == {(token, token): ["self"] for token in range(4)}


def test_arcs_join_head_and_dependent_both_ways_and_a_root_not_with_itself():
    edges = without_self(textual_edges(caption(), ("arcs",)))
    assert edges == {
        (0, 1): ["arc:amod"],
        (1, 0): ["arc:amod~"],
        (1, 2): ["arc:nsubj"],
        (2, 1): ["arc:nsubj~"],
        (2, 3): ["arc:obj~"],
        (3, 2): ["arc:obj"],
    }


def test_a_triple_joins_its_predicate_with_subject_and_object():
    triple = CaptionTriple(0, CaptionSpan(2, 3, "chase"), 1, None, "verb")
    edges = without_self(textual_edges(caption([triple]), ("triples",)))
    # the subject's span `red dog` is represented by its head, dog
    assert edges == {
        (1, 2): ["subject"],
        (2, 1): ["subject~"],
        (2, 3): ["object~"],
        (3, 2): ["object"],
    }


def test_a_predicate_without_a_word_joins_subject_and_object_typed_by_its_string():
    triple = CaptionTriple(0, CaptionSpan(-1, -1, "have"), 1, None, "possessive")
    edges = without_self(textual_edges(caption([triple]), ("triples",)))
    assert edges == {(1, 3): ["predicate:have"], (3, 1): ["predicate:have~"]}


def test_an_attribute_joins_its_object():
    attribute = CaptionSpan(0, 1, "red")
    triple = CaptionTriple(0, CaptionSpan(-1, -1, "is"), -1, attribute, "amod")
    parsed = caption([triple], objects=((1, 2, "dog"),))
    edges = without_self(textual_edges(parsed, ("triples",)))
    assert edges == {(0, 1): ["attribute~"], (1, 0): ["attribute"]}


def test_an_edge_of_arc_and_triple_comes_once_with_both_types():
    triple = CaptionTriple(0, CaptionSpan(2, 3, "chase"), 1, None, "verb")
    edges = textual_edges(caption([triple]))
    assert edges[(1, 2)] == ["arc:nsubj", "subject"]
    assert list(edges) == sorted(edges)


def test_no_kinds_give_no_edges_and_neither_does_a_caption_without_words():
    assert textual_edges(caption(), ()) == {}
    assert textual_edges(ParsedCaption("i#0", "i", "")) == {}


def test_the_head_of_a_span_is_the_token_whose_head_stands_outside():
    assert span_head(CaptionSpan(0, 2, "red dog"), (1, 2, 2, 2)) == 1
    assert span_head(CaptionSpan(0, 4, "all"), (1, 2, 2, 2)) == 2
    assert span_head(CaptionSpan(0, 2, "two heads"), (2, 2, 2)) == 1


@given(st.data())
def test_every_edge_has_its_inverse(data):
    length = data.draw(st.integers(1, 8))
    heads = tuple(data.draw(st.integers(0, length - 1)) for _ in range(length))
    words = ("w",) * length
    edges = textual_edges(ParsedCaption("i#0", "i", "", words, words, words, heads, words))
    for (target, source), names in without_self(edges).items():
        inverse = {n.removesuffix("~") if n.endswith("~") else f"{n}~" for n in names}
        assert set(edges[(source, target)]) == inverse
