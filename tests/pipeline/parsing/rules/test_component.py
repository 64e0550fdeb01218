"""The component in pipelines: bytes, DocBin, several processes, missing parser, odd captions."""

import pytest
import spacy
from spacy.tokens import Doc, DocBin

from pipeline.errors import DataError
from pipeline.parsing.doc_triples import stored_triples, string_tuples

CAPTIONS = ["a dog on a bench", "the cat in the red box", "a bird", "a dog on the cat"]


@pytest.fixture
def nlp(model_folder):
    nlp = spacy.load(model_folder)
    nlp.add_pipe("relation_triples")
    return nlp


def test_component_is_made_by_name(nlp):
    assert string_tuples(nlp("a dog on a bench")) == [("dog", "on", "bench")]


def test_pipeline_with_the_component_is_saved_and_loaded(nlp, tmp_path):
    nlp.remove_pipe("relation_triples")
    nlp.add_pipe("relation_triples", config={"keep_negated": True})
    nlp.to_disk(tmp_path)
    again = spacy.load(tmp_path)
    assert again.get_pipe("relation_triples").keep_negated
    assert string_tuples(again("a dog on a bench")) == [("dog", "on", "bench")]


def test_two_processes_give_what_one_gives(nlp):
    alone = [string_tuples(nlp(text)) for text in CAPTIONS]
    together = list(nlp.pipe(CAPTIONS, n_process=2, batch_size=2))
    assert [string_tuples(doc) for doc in together] == alone
    assert [t.subject.text for t in together[0]._.triples] == ["dog"]


def test_triples_survive_bytes_and_docbin(nlp):
    doc = nlp("the cat in the red box")
    again = Doc(nlp.vocab).from_bytes(doc.to_bytes())
    (stored,) = DocBin(docs=[doc], store_user_data=True).get_docs(nlp.vocab)
    assert stored_triples(again) == stored_triples(doc) == stored_triples(stored)
    assert len(stored_triples(doc)) == 2


def test_without_arcs_the_error_names_the_parser():
    nlp = spacy.blank("en")
    nlp.add_pipe("relation_triples")
    with pytest.raises(DataError, match="parser"):
        nlp("a dog on a bench")


@pytest.mark.parametrize(
    "text",
    ["", "...", "!", "🐶 on a 🛹", "كلب على مقعد", "<p>a dog</p>", "-", "on", "\x00", "a" * 5000],
)
def test_odd_text_never_raises(nlp, text):
    doc = nlp(text)
    assert len(stored_triples(doc)) < 3


def test_long_text_is_read_in_reasonable_time(nlp):
    doc = nlp("a dog on a bench " * 400)
    assert doc._.objects
