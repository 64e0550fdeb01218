"""Composed captions say their graphs."""

import itertools
import random

import pytest
import spacy
from spacy.tokens import Doc

from pipeline.parsing.scene_graph.normal_forms import NormalForms
from pipeline.parsing.training.composed import as_example
from pipeline.parsing.training.composer import Composer, compose
from pipeline.parsing.training.examples import Example
from pipeline.parsing.training.pieces import SUBJECT, Parts, parts_of, written_pieces
from pipeline.parsing.training.verbs import past_participle, present

FORMS = NormalForms(
    lemmas={"riding": "ride", "sitting": "sit"}, suffixes={"ing": (3, ""), "ving": (3, "e")}
)


def example(text, nodes, relations, attributes=()):
    words = text.split()
    n = len(words)
    return Example(
        words=words, spaces=[True] * n, pos=["X"] * n, heads=list(range(n)), deprels=["dep"] * n,
        nodes=nodes, relations=relations, attributes=list(attributes), triples=[], is_complete=True,
    )  # fmt: skip


EXAMPLES = [
    example(
        "a man riding a brown horse",
        [(1, 2, False), (4, 5, True), (5, 6, False)],
        [(0, "ride", 2)],
        [(2, 1)],
    ),
    example("cup on a table", [(0, 1, False), (3, 4, False)], [(0, "on", 1)]),
    example("dog sitting on grass", [(0, 1, False), (3, 4, False)], [(0, "sit on", 1)]),
    example("a young woman", [(1, 2, True), (2, 3, False)], [], [(1, 0)]),
    example("red bus", [(0, 1, True), (1, 2, False)], [], [(1, 0)]),
]


@pytest.fixture(scope="module")
def parts() -> Parts:
    return parts_of(EXAMPLES, FORMS.lemma)


def test_phrases_are_cut_at_the_verb(parts):
    (action,) = parts.actions
    assert action.words == ("riding", "a", "brown", "horse")
    assert action.relations == ((SUBJECT, "ride", 1),)
    assert [place.words for place in parts.places] == [("on", "a", "table")]
    assert [noun.noun for noun in parts.people] == ["woman"]


def test_written_phrases_name_their_objects():
    pieces = written_pieces()
    assert set(pieces) == {"people", "actions", "places", "worn"}
    assert all(piece.nodes for piece in pieces["people"] + pieces["places"] + pieces["worn"])
    (shore,) = [piece for piece in pieces["places"] if "shore" in piece.words]
    assert shore.relations == ((SUBJECT, "on", 0), (1, "have", 0))


def test_every_template_gives_a_sentence_whose_graph_fits_it(parts):
    composer = Composer(parts, FORMS.lemma, random.Random(0))
    for make, _ in composer.templates:
        for _ in range(30):
            sentence = composer.draw() if make is None else make(_fresh())
            spans = sorted(node[:2] for node in sentence.nodes)
            assert all(0 <= start < end <= len(sentence.words) for start, end in spans)
            assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans)), sentence.words
            objects = {i for i, node in enumerate(sentence.nodes) if not node[2]}
            assert all({s, o} <= objects for s, _, o in sentence.relations)
            assert all(s in objects and a not in objects for s, a in sentence.attributes)


def _fresh():
    from pipeline.parsing.training.pieces import Sentence

    return Sentence()


def test_equal_seeds_give_equal_captions():
    one, other = (compose(EXAMPLES, FORMS.lemma, 20, 3) for _ in range(2))
    assert [s.words for s in one] == [s.words for s in other]


def test_example_has_the_nodes_in_order():
    (sentence,) = compose(EXAMPLES, FORMS.lemma, 1, 5)
    doc = Doc(spacy.blank("en").vocab, words=sentence.words)
    made = as_example(sentence, doc, lambda text, _: text)
    assert made.nodes == sorted(made.nodes)
    assert made.words == sentence.words


@pytest.mark.parametrize(
    ("participle", "lemma", "plural", "expected"),
    [
        ("riding", "ride", False, "rides"),
        ("riding", "ride", True, "ride"),
        ("carrying", "carry", False, "carries"),
        ("washing", "wash", False, "washes"),
        ("doing", "do", False, "does"),
    ],
)
def test_present(participle, lemma, plural, expected):
    assert present(participle, lemma, plural) == expected


def test_past_participles():
    verbs = ("ride", "push", "carry", "chop", "chase")
    assert [past_participle(verb) for verb in verbs] == [
        "ridden", "pushed", "carried", "chopped", "chased",
    ]  # fmt: skip
