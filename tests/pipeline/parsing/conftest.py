"""A small pipeline without weights, so that no test needs a downloaded model."""

import pytest
import spacy
from spacy.language import Language

import pipeline.parsing.scene_graph.component  # noqa: F401  registers `scene_graph`


@Language.component("chain_parser")
def chain_parser(doc):
    """A stand-in for a parser: nouns, prepositions and articles by a list, arcs by their order."""
    pos = {"a": "DET", "the": "DET", "on": "ADP", "in": "ADP", "red": "ADJ", "boom": "NOUN"}
    labels = {"DET": "det", "ADJ": "amod", "ADP": "case"}
    root = next((t.i for t in doc if pos.get(t.lower_, "NOUN") == "NOUN"), 0)
    for token in doc:
        token.pos_ = pos.get(token.lower_, "NOUN") if token.is_alpha else "PUNCT"
        token.lemma_ = token.lower_
    for token in doc:
        if token.i == root:
            token.dep_ = "ROOT"
            continue
        noun = next((t for t in doc[token.i + 1 :] if t.pos_ == "NOUN"), doc[root])
        token.head = noun if token.pos_ in labels and noun.i != token.i else doc[root]
        token.dep_ = labels.get(token.pos_, "nmod")
    if "boom" in doc.text:
        raise ZeroDivisionError("boom")
    return doc


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    """A spaCy pipeline on disk that parses `a dog on a bench` without any weights."""
    nlp = spacy.blank("en")
    nlp.add_pipe("chain_parser")
    folder = tmp_path_factory.mktemp("model")
    nlp.to_disk(folder)
    return folder
