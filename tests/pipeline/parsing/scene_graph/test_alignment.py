from pathlib import Path

import pytest
import spacy

from pipeline.parsing.scene_graph.alignment import align, learn_normal_forms
from pipeline.parsing.scene_graph.normal_forms import NormalForms
from pipeline.parsing.score import read_gold, score

FACTUAL = Path(__file__).parents[4] / "../shared/data/factual"
NLP = spacy.blank("en")


def aligned(caption, *triples, normal_forms=None):
    return align(NLP.make_doc(caption), triples, normal_forms or NormalForms())


def test_spans_are_found_and_said_back():
    triples = [("teddy bear", "sit in", "helmet"), ("teddy bear", "is", "small")]
    graph = aligned("small teddy bear sitting in a helmet", *triples)
    assert [(n.start, n.end, n.is_attribute) for n in graph.nodes] == [
        (0, 1, True),
        (1, 3, False),
        (6, 7, False),
    ]
    assert graph.relations == ((1, "sit in", 2),)
    assert graph.attributes == ((1, 0),)
    assert graph.is_complete
    assert set(graph.strings()) == set(triples)


def test_hyphen_of_gold_may_be_missing_in_the_caption():
    graph = aligned("a white tshirt", ("t-shirt", "is", "white"))
    assert graph.is_complete
    assert [(n.start, n.end) for n in graph.nodes] == [(1, 2), (2, 3)]


def test_misspelt_word_is_found_and_invention_is_not():
    assert aligned("coat on a chiar", ("coat", "on", "chair")).is_complete
    graph = aligned("the left eye", ("man", "have", "left eye"))
    assert not graph.is_complete
    assert graph.nodes == ()


def test_repeated_word_is_taken_nearest_to_its_partner():
    graph = aligned("dog by a man and a cat by a man", ("cat", "by", "man"))
    assert [(n.start, n.string) for n in graph.nodes] == [(6, "cat"), (9, "man")]


def test_relation_within_a_plural_ties_it_to_itself():
    graph = aligned("two cars parked next to each other", ("car", "park next to", "car"))
    ((subject, predicate, object_),) = graph.relations
    assert (subject, predicate) == (object_, "park next to")
    assert graph.strings() == [("car", "park next to", "car")]


def test_object_alone_is_said_alone():
    assert aligned("stack of the pole", ("pole",)).strings() == [("pole",)]


def test_names_and_lemmas_are_learned():
    captions = ["a guy swinging a bat", "guy on a horse", "guy in a car", "a guy with a hat"]
    graphs = [
        [("person", "swing", "bat")],
        [("person", "on", "horse")],
        [("person", "in", "car")],
        [("person", "with", "hat")],
    ]
    docs = [NLP.make_doc(caption) for caption in captions]
    normal_forms = learn_normal_forms(docs, graphs, [("walking", "walk"), ("talking", "talk")])
    assert normal_forms.object_name("guy") == "person"
    assert normal_forms.object_name("bat") == "bat"
    assert normal_forms.lemma("swinging") == "swing"
    graph = align(docs[0], graphs[0], normal_forms)
    assert graph.is_complete
    assert graph.nodes[0].string == "person"


@pytest.mark.real_data
@pytest.mark.skipif(not FACTUAL.is_dir(), reason="../shared/data/factual is not here")
def test_gold_survives_alignment():
    rows = list(read_gold(FACTUAL / "dev.csv.gz"))
    docs = [NLP.make_doc(row.caption) for row in rows]
    normal_forms = learn_normal_forms(docs, [row.triples for row in rows])
    said = [
        align(d, row.triples, normal_forms).strings() for d, row in zip(docs, rows, strict=True)
    ]
    result = score(said, [row.triples for row in rows])
    assert result.set_match > 93
    assert result.spice_f1 > 97
