import pytest
import spacy
from spacy.tokens import Doc, DocBin

from pipeline.parsing.doc_triples import (
    set_triples,
    stored_objects,
    stored_triples,
    string_tuples,
)
from pipeline.shards.records import CaptionSpan, CaptionTriple

OBJECTS = (CaptionSpan(0, 1, "leg"), CaptionSpan(3, 4, "man"), CaptionSpan(5, 6, "hat"))
TRIPLES = (
    CaptionTriple(1, CaptionSpan(-1, -1, "have"), 0, None, "possession"),
    CaptionTriple(0, CaptionSpan(-1, -1, "is"), -1, CaptionSpan(2, 3, "long"), "attribute"),
)


@pytest.fixture
def doc():
    doc = spacy.blank("en")("leg of the man and hat")
    set_triples(doc, OBJECTS, TRIPLES)
    return doc


def test_spans_and_strings_are_built_from_offsets(doc):
    have, long = doc._.triples
    assert (have.subject.text, have.predicate, have.object.text) == ("man", None, "leg")
    assert have.strings == ("man", "have", "leg")
    assert not have.is_attribute
    assert long.strings == ("leg", "is", "long")
    assert long.is_attribute
    assert long.object.text == "the"
    assert [node.string for node in doc._.objects] == ["leg", "man", "hat"]
    assert [node.span.text for node in doc._.objects] == ["leg", "man", "hat"]


def test_object_in_no_triple_is_a_tuple_of_one(doc):
    assert string_tuples(doc) == [("man", "have", "leg"), ("leg", "is", "long"), ("hat",)]


def test_records_survive_bytes_and_docbin(doc):
    again = Doc(doc.vocab).from_bytes(doc.to_bytes())
    assert (stored_objects(again), stored_triples(again)) == (OBJECTS, TRIPLES)
    stored = DocBin(docs=[doc], store_user_data=True).to_bytes()
    (from_bin,) = DocBin().from_bytes(stored).get_docs(doc.vocab)
    assert (stored_objects(from_bin), stored_triples(from_bin)) == (OBJECTS, TRIPLES)
    assert [triple.strings for triple in from_bin._.triples] == [
        triple.strings for triple in doc._.triples
    ]


def test_doc_of_no_component_has_nothing():
    doc = spacy.blank("en")("a man")
    assert doc._.triples == []
    assert doc._.objects == []
    assert not doc._.negated


@pytest.mark.parametrize(
    ("objects", "triples"),
    [
        ([CaptionSpan(5, 7, "hat")], []),
        ([CaptionSpan(2, 2, "hat")], []),
        (OBJECTS, [CaptionTriple(3, CaptionSpan(-1, -1, "have"), 0, None, "r")]),
        (OBJECTS, [CaptionTriple(0, CaptionSpan(-1, -1, "have"), 3, None, "r")]),
        (OBJECTS, [CaptionTriple(0, CaptionSpan(6, 9, "have"), 1, None, "r")]),
        (OBJECTS, [CaptionTriple(0, CaptionSpan(-1, -1, "is"), -1, None, "r")]),
    ],
)
def test_spans_outside_the_caption_are_refused(objects, triples):
    doc = spacy.blank("en")("leg of the man and hat")
    with pytest.raises(ValueError, match=r"caption|objects"):
        set_triples(doc, objects, triples)
