import pytest
import spacy
from spacy.tokens import Doc, DocBin

from pipeline.errors import DataError
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


TWO = "A dog sleeps on a rug. A cat eats red fish."


@pytest.fixture
def two():
    """A Doc of two sentences, each with triples."""
    doc = spacy.blank("en")(TWO)
    objects = [
        CaptionSpan(1, 2, "dog"),
        CaptionSpan(5, 6, "rug"),
        CaptionSpan(8, 9, "cat"),
        CaptionSpan(10, 12, "fish"),
    ]
    triples = [
        CaptionTriple(0, CaptionSpan(2, 4, "sleep on"), 1, None, "r"),
        CaptionTriple(2, CaptionSpan(9, 10, "eat"), 3, None, "r"),
        CaptionTriple(3, CaptionSpan(-1, -1, "is"), -1, CaptionSpan(10, 11, "red"), "r"),
    ]
    set_triples(doc, objects, triples)
    return doc


def shown(doc):
    """Words of each triple, with the place of its subject."""
    return [(t.subject.start, t.subject.text, str(t.predicate), t.object.text, t.strings)
            for t in doc._.triples]  # fmt: skip


SLEEPS = ("dog", "sleeps on", "rug", ("dog", "sleep on", "rug"))
EATS = ("cat", "eats", "red fish", ("cat", "eat", "fish"))
RED = ("red fish", "None", "red", ("fish", "is", "red"))


def test_part_of_a_doc_has_the_triples_of_its_words(two):
    second = two[7:].as_doc(copy_user_data=True)
    assert shown(second) == [(1, *EATS), (3, *RED)]
    assert [(str(o.span), o.string) for o in second._.objects] == [
        ("cat", "cat"),
        ("red fish", "fish"),
    ]
    first = two[:7].as_doc(copy_user_data=True)
    assert shown(first) == [(1, *SLEEPS)]
    assert shown(second[1:4].as_doc(copy_user_data=True)) == []
    assert [o.string for o in second[1:4].as_doc(copy_user_data=True)._.objects] == ["cat"]
    assert shown(second[3:].as_doc(copy_user_data=True)) == [(0, *RED)]


def test_docs_joined_have_the_triples_of_each(two):
    bare = Doc(two.vocab, words=["no", "component"])
    joined = Doc.from_docs([bare, two, two])
    assert [row[0] for row in shown(joined)] == [3, 10, 12, 16, 23, 25]
    assert [row[1:] for row in shown(joined)] == [SLEEPS, EATS, RED, SLEEPS, EATS, RED]


def test_merged_and_split_tokens_keep_the_words(two):
    with two.retokenize() as retokenizer:
        retokenizer.merge(two[0:2])
        retokenizer.split(two[5], ["r", "ug"], heads=[two[5], two[5]])
    assert shown(two)[0] == (0, "A dog", "sleeps on", "rug", SLEEPS[3])
    assert [row[1:] for row in shown(two)[1:]] == [EATS, RED]


def test_triples_of_parts_and_joined_docs_survive_bytes(two):
    for doc in (two[7:].as_doc(copy_user_data=True), Doc.from_docs([two, two])):
        assert shown(Doc(doc.vocab).from_bytes(doc.to_bytes())) == shown(doc)
        (stored,) = DocBin(docs=[doc], store_user_data=True).get_docs(doc.vocab)
        assert shown(stored) == shown(doc)


def test_triples_of_other_words_are_an_error(two):
    other = Doc(two.vocab, words=["some", "other", "words"], user_data=two.user_data)
    for getter in ("objects", "triples", "negated"):
        with pytest.raises(DataError, match="are not those that its triples were read from"):
            getattr(other._, getter)


@pytest.mark.parametrize("part", [slice(0, 7), slice(7, None)])
def test_joining_part_of_a_caption_with_other_words_is_an_error(two, part):
    joined = Doc.from_docs([two, two[part].as_doc(copy_user_data=True), two])
    with pytest.raises(DataError, match="Parse its text anew"):
        joined._.triples  # noqa: B018


def test_a_new_reading_replaces_those_of_the_parts(two):
    joined = Doc.from_docs([two, two])
    set_triples(joined, [CaptionSpan(1, 2, "dog")], [])
    assert [o.string for o in joined._.objects] == ["dog"]
    assert shown(joined) == []


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
