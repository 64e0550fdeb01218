"""The component in any pipeline: by name, on disk, in processes, and with what is denied."""

import pytest
import spacy
from parsed_captions import make_doc
from spacy.tokens import Doc, DocBin

import pipeline.parsing.scene_graph.component as component_module
from pipeline.errors import SettingsError
from pipeline.parsing.doc_triples import stored_triples, string_tuples
from pipeline.parsing.scene_graph.component import SceneGraph
from pipeline.parsing.scene_graph.decode import Graph, Node, Relation

CAPTIONS = ["a dog on a bench", "the cat in the red box", "a bird", "a dog on the cat"]


@pytest.fixture
def nlp(model_folder):
    nlp = spacy.load(model_folder)
    nlp.add_pipe("scene_graph")
    return nlp


def test_component_is_made_by_name_with_the_embedded_weights(nlp):
    assert string_tuples(nlp("a dog on a bench")) == [("dog", "on", "bench")]


def test_pipeline_with_the_component_is_saved_and_loaded(nlp, tmp_path):
    nlp.remove_pipe("scene_graph")
    nlp.add_pipe("scene_graph", config={"keep_negated": True})
    nlp.to_disk(tmp_path)
    again = spacy.load(tmp_path)
    assert again.get_pipe("scene_graph").keep_negated
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


def test_without_weights_the_error_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(component_module, "EMBEDDED_FOLDER", tmp_path)
    with pytest.raises(SettingsError, match="not trained"):
        SceneGraph()(make_doc("dog/NOUN/ROOT/0"))


@pytest.mark.parametrize("keep_negated", [False, True])
def test_denied_triples_are_kept_on_request(keep_negated, monkeypatch):
    doc = make_doc(
        "a/DET/det/1 man/NOUN/ROOT/1 not/PART/advmod/3 riding/VERB/acl/1 a/DET/det/6 "
        "brown/ADJ/amod/6 horse/NOUN/obj/3"
    )
    read = Graph(
        (Node(1, 2, False), Node(5, 6, True), Node(6, 7, False)),
        (Relation(0, 2, "ride", "", 3),),
        ((2, 1),),
    )
    component = SceneGraph(keep_negated=keep_negated)
    monkeypatch.setattr(component.model, "graphs", lambda captions: [read])
    component(doc)
    assert doc._.negated
    rules = {triple.strings: triple.rule for triple in doc._.triples}
    assert rules.pop(("horse", "is", "brown")) == "scene_graph"
    assert rules == ({("man", "ride", "horse"): "not:scene_graph"} if keep_negated else {})


@pytest.mark.parametrize(
    "text",
    ["", "...", "!", "🐶 on a 🛹", "كلب على مقعد", "<p>a dog</p>", "-", "on", "\x00", "a" * 5000],
)
def test_odd_text_never_raises(nlp, text):
    assert string_tuples(nlp(text)) is not None


def test_long_text_is_read_in_reasonable_time(nlp):
    doc = nlp("a dog on a bench " * 400)
    assert doc._.objects
