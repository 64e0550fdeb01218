from itertools import pairwise

import numpy as np
import pytest
import spacy
from parsed_captions import make_doc
from spacy.attrs import DEP, HEAD, LOWER, POS

from pipeline.parsing.scene_graph.clauses import clause_offsets, whole_captions
from pipeline.parsing.scene_graph.decode import Graph, Node, Relation

VOCAB = spacy.blank("en").vocab

TWO = (
    "a/DET/det/1 man/NOUN/nsubj/2 sits/VERB/ROOT/2 and/CCONJ/cc/6 a/DET/det/5 woman/NOUN/nsubj/6 "
    "dances/VERB/conj/2 ./PUNCT/punct/2"
)


def clauses(*parses):
    """The clauses of captions, as text, from the arcs."""
    docs = [make_doc(parse, VOCAB) for parse in parses]
    columns = np.concatenate([doc.to_array([LOWER, POS, DEP, HEAD]) for doc in docs])
    heads = np.arange(len(columns)) + columns[:, 3].astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum([len(doc) for doc in docs])])
    found = clause_offsets(columns[:, :3], heads, offsets, VOCAB.strings).tolist()
    words = [token.text for doc in docs for token in doc]
    return [" ".join(words[a:b]) for a, b in pairwise(found)]


def test_clause_with_its_own_subject_stands_alone():
    assert clauses(TWO) == ["a man sits and", "a woman dances ."]


def test_captions_are_not_joined_by_their_neighbours():
    one = "a/DET/det/1 dog/NOUN/ROOT/1"
    assert clauses(one, TWO, one) == ["a dog", "a man sits and", "a woman dances .", "a dog"]


@pytest.mark.parametrize(
    ("what", "parse"),
    [
        (
            "verbs of one subject",
            "a/DET/det/1 man/NOUN/nsubj/2 sits/VERB/ROOT/2 and/CCONJ/cc/4 sings/VERB/conj/2",
        ),
        (
            "subjects of one verb",
            "a/DET/det/1 man/NOUN/nsubj/5 and/CCONJ/cc/4 a/DET/det/4 woman/NOUN/conj/1 "
            "sit/VERB/ROOT/5",
        ),
        (
            "a pronoun, which needs what it stands for",
            "a/DET/det/1 man/NOUN/nsubj/2 smiles/VERB/ROOT/2 as/ADP/mark/5 he/PRON/nsubj/5 "
            "sits/VERB/advcl/2",
        ),
        (
            "an arc across the joint",
            "a/DET/det/1 man/NOUN/nsubj/2 sits/VERB/ROOT/2 and/CCONJ/cc/6 a/DET/det/5 "
            "woman/NOUN/nsubj/6 dances/VERB/conj/2 outside/ADV/advmod/2",
        ),
    ],
    ids=lambda text: text[:20],
)
def test_what_belongs_together_stays(what, parse):
    assert len(clauses(parse)) == 1, what


def test_graphs_of_clauses_become_the_captions():
    words = [["a", "man", "sits", "and"], ["a", "woman", "holds", "cups"], ["red", "bus"]]
    woman = Graph(
        (Node(1, 2, False), Node(3, 4, False), Node(2, 3, True)),
        (Relation(0, 1, "hold", "", 2), Relation(0, 1, "have", "", -1)),
        ((0, 2),),
    )
    man = Graph((Node(1, 2, False), Node(2, 3, True)), (), ((0, 1),))
    bus = Graph((Node(1, 2, False),))
    (first_words, first), (second_words, second) = whole_captions(words, [man, woman, bus], [8, 2])
    assert first_words == [*words[0], *words[1]]
    assert [first_words[n.start] for n in first.nodes] == ["man", "sits", "woman", "cups", "holds"]
    assert first.relations == (Relation(2, 3, "hold", "", 6), Relation(2, 3, "have", "", -1))
    assert first.attributes == ((0, 1), (2, 4))
    assert (second_words, second) == (words[2], bus)
