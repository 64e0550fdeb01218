"""The quicker components say what spaCy's own say."""

import numpy as np
import pytest
import spacy
from spacy.attrs import DEP, HEAD, LEMMA, POS, TAG

import pipeline.parsing.scene_graph.component  # noqa: F401  registers `scene_graph`
from pipeline.parsing import inference, parser
from pipeline.parsing.parser import load_parser

COLUMNS = [LEMMA, TAG, POS, DEP, HEAD]
CAPTIONS = [
    "Two young guys with shaggy hair look at their hands while hanging out in the yard.",
    "A child in a pink dress is climbing up a set of stairs in an entry way.",
    "",
    "Someone in a blue shirt and hat is standing on stair and leaning against a window.",
    "dog",
    "A black dog and a tri-colored dog playing with each other on the road.",
    "They can't find the dogs' bowls!",
]


@pytest.fixture(scope="module")
def plain():
    """The embedded pipeline with spaCy's own parser, lemmatizer and word vectors."""
    factories = {
        "components.parser.factory": "parser",
        "components.trainable_lemmatizer.factory": "trainable_lemmatizer",
        "components.trainable_lemmatizer.top_k": 1,
    }
    return spacy.load(parser.EMBEDDED_FOLDER, config=factories, exclude=["scene_graph"])


@pytest.fixture(scope="module")
def quick():
    nlp = load_parser()
    nlp.remove_pipe("scene_graph")
    return nlp


def columns(docs):
    return [doc.to_array(COLUMNS).tolist() for doc in docs]


def test_annotations_are_those_of_spacy(plain, quick):
    strings = [string for string in quick.vocab.strings if string not in plain.vocab.strings]
    for string in strings:
        plain.vocab.strings.add(string)
    expected = columns(plain.pipe(CAPTIONS))
    assert columns(quick.pipe(CAPTIONS)) == expected
    assert columns(quick.pipe(CAPTIONS)) == expected  # now from what is kept


def test_word_vectors_are_those_of_spacy(plain, quick):
    docs = [plain.make_doc(text) for text in CAPTIONS]
    expected = plain.get_pipe("tok2vec").predict(docs)
    found = quick.get_pipe("tok2vec").predict(docs)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_what_is_kept_is_bounded(quick, monkeypatch):
    expected = columns(quick.pipe(CAPTIONS))
    monkeypatch.setattr(inference, "MAX_KEPT", 5)
    assert columns(quick.pipe(CAPTIONS)) == expected
    assert len(quick.get_pipe("trainable_lemmatizer")._kept) < 60
    assert columns(quick.pipe(["a dog"], batch_size=1)) == columns([quick("a dog")])


def test_only_lemmas_that_are_missing_are_set(quick):
    doc = quick.make_doc("two dogs")
    doc[1].lemma_ = "hound"
    for _, component in quick.pipeline:
        doc = component(doc)
    assert [token.lemma_ for token in doc] == ["two", "hound"]


def test_loaded_pipeline_is_written_as_it_was_read(quick, tmp_path):
    quick.to_disk(tmp_path)
    again = spacy.load(tmp_path)
    assert columns(again.pipe(CAPTIONS)) == columns(quick.pipe(CAPTIONS))


def test_training_a_pipeline_that_keeps_vectors_is_refused(quick):
    doc = quick.make_doc("a dog")
    _, backpropagate = quick.get_pipe("tok2vec").model.begin_update([doc])
    with pytest.raises(RuntimeError, match="cannot be trained"):
        backpropagate([np.zeros((2, 96), np.float32)])
