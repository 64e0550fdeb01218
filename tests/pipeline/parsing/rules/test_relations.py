import pytest
from parsed_captions import make_doc, read_examples

from pipeline.parsing.doc_triples import stored_objects, stored_triples
from pipeline.parsing.rules.component import RelationTriples
from pipeline.parsing.rules.relations import read_graph
from pipeline.parsing.rules.schemes import caption_tree
from pipeline.parsing.strings import strings_of

EXAMPLES = read_examples()


@pytest.mark.parametrize("scheme", ["clear", "universal"])
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: e.topic)
def test_both_schemes_give_the_triples(example, scheme):
    doc = RelationTriples()(make_doc(example.parses[scheme]))
    found = strings_of(*doc_records(doc))
    assert set(found) == example.triples
    assert len(found) == len(set(found))
    assert doc._.negated == example.is_negated


def doc_records(doc):
    return stored_objects(doc), stored_triples(doc)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: e.topic)
def test_both_schemes_have_one_view(example):
    trees = [caption_tree(make_doc(parse)) for parse in example.parses.values()]
    graphs = [read_graph(tree) for tree in trees]
    assert trees[0].words == trees[1].words
    assert {o.string for o in graphs[0].objects} == {o.string for o in graphs[1].objects}


def test_spans_point_at_the_words():
    doc = RelationTriples()(make_doc(parse_of("multi-word preposition")))
    triple = next(t for t in doc._.triples if not t.is_attribute)
    assert (triple.subject.text, triple.predicate.text, triple.object.text) == (
        "man",
        "stands in front of",
        "building",
    )
    assert triple.strings == ("man", "stand in front of", "building")


def test_predicate_without_a_word_has_no_span():
    doc = RelationTriples()(make_doc(parse_of("of")))
    (have,) = doc._.triples
    assert have.predicate is None
    assert have.strings == ("house", "have", "roof")
    assert have.rule == "possession"


def test_denied_triples_are_kept_on_request():
    parse = parse_of("negation")
    (triple,) = RelationTriples(keep_negated=True)(make_doc(parse))._.triples
    assert triple.is_negated
    assert triple.rule == "not:verb"
    assert triple.strings == ("man", "wear", "helmet")
    assert RelationTriples()(make_doc(parse))._.triples == []


def test_name_of_several_words_is_one_object():
    doc = RelationTriples()(make_doc(parse_of("compound")))
    assert [node.span.text for node in doc._.objects if node.string == "tennis racket"] == [
        "tennis racket"
    ]


def test_capitals_and_final_stop_change_nothing():
    parse = parse_of("number")
    plain = RelationTriples()(make_doc(parse))
    shouted = RelationTriples()(make_doc(" ".join(map(_upper_form, parse.split()))))
    assert [t.strings for t in shouted._.triples] == [t.strings for t in plain._.triples]


def _upper_form(token):
    form, pos, label, head, *lemma = token.split("/")
    return "/".join([form.upper(), pos, label, head, *(lemma or [form.lower()])])


def parse_of(topic, scheme="clear"):
    return next(example.parses[scheme] for example in EXAMPLES if example.topic == topic)
