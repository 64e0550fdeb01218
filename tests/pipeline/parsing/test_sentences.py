"""Sentences and clauses have triples of their own, as when each stands alone."""

import pytest
import spacy
from parsed_captions import make_doc

from pipeline.parsing.doc_triples import string_tuples
from pipeline.parsing.parser import LEARNED, RULES, load_parser, parse_texts
from pipeline.parsing.rules.component import RelationTriples
from pipeline.parsing.sentences import sentence_starts


@pytest.fixture(scope="module")
def nlp():
    return load_parser()


@pytest.fixture(scope="module")
def rules():
    nlp = load_parser()
    nlp.remove_pipe(LEARNED)
    nlp.add_pipe(RULES)
    return nlp


def parsed(nlp, text):
    (doc,) = parse_texts(nlp, [text])
    return doc


def sentences(doc):
    starts = sentence_starts(doc)
    return [doc[a:b].text for a, b in zip(starts, [*starts[1:], len(doc)], strict=True)]


BOY, GIRL = ("boy", "kick", "ball"), ("girl", "read", "book")


@pytest.mark.parametrize(
    "text",
    [
        "A boy kicks a ball. A girl reads a book.",
        "A boy kicks a ball . A girl reads a book .",
        "A boy kicks a ball.A girl reads a book.",
        "A boy kicks a ball! A girl reads a book?",
        "A boy kicks a ball; a girl reads a book.",
        "A boy kicks a ball, a girl reads a book.",
        "A boy kicks a ball, while a girl reads a book.",
        "A boy kicks a ball: a girl reads a book.",
        "A boy kicks a ball - a girl reads a book.",
        "A boy kicks a ball – a girl reads a book.",
        "A boy kicks a ball... a girl reads a book.",
        "A boy kicks a ball\nA girl reads a book",
        "A boy kicks a ball.\r\nA girl reads a book.",
        "a boy kicks a ball\na girl reads a book",
        "<p>A boy kicks a ball</p><p>A girl reads a book</p>",
        "A boy kicks a ball<br/>A girl reads a book",
        "A boy kicks a ball and a girl reads a book.",
        "A boy kicks a ball, and a girl reads a book.",
        "A boy is kicking a ball but a girl is reading a book.",
        "A boy kicking a ball and a girl reading a book.",
        "A boy kicks a ball (a girl reads a book).",
        "A boy kicks a ball / a girl reads a book",
        "A boy kicks a ball | a girl reads a book",
        "• A boy kicks a ball • a girl reads a book",
    ],
)
def test_each_clause_has_its_own_triples(nlp, text):
    doc = parsed(nlp, text)
    assert string_tuples(doc) == [BOY, GIRL]
    assert [t.subject.text for t in doc._.triples] == ["boy", "girl"]
    assert [t.object.text for t in doc._.triples] == ["ball", "book"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("A woman holds a red umbrella.", "A child eats an apple."),
        ("A dog runs on the grass.", "A cat lies on a bed."),
        ("Two dogs on a beach.", "A man in a blue shirt watches them."),
        ("A dog.", "A man wearing a hat sits on a bench."),
        ("A girl is in the kitchen.", "She is baking a cake."),
    ],
)
@pytest.mark.parametrize("component", ["nlp", "rules"])
def test_sentences_together_say_what_they_say_alone(component, first, second, request):
    nlp = request.getfixturevalue(component)
    alone = [triple for text in (first, second) for triple in string_tuples(parsed(nlp, text))]
    assert sorted(string_tuples(parsed(nlp, f"{first} {second}"))) == sorted(alone)


@pytest.mark.parametrize(
    ("text", "triples"),
    [
        (
            "a man with a hat, a woman with a bag",
            [("man", "with", "hat"), ("woman", "with", "bag")],
        ),
        (
            "a woman with an umbrella, a child with a balloon and a dog with a ball",
            [
                ("woman", "with", "umbrella"),
                ("child", "with", "balloon"),
                ("dog", "with", "ball"),
            ],
        ),
        (
            "A man on a bike - a woman on a horse",
            [("man", "on", "bike"), ("woman", "on", "horse")],
        ),
        (
            "cars on the street, people on the sidewalk",
            [("cars", "on", "street"), ("people", "on", "sidewalk")],
        ),
        ("a bird, a plane", [("bird",), ("plane",)]),
        (
            "a woman, a red umbrella, a green apple",
            [("woman",), ("umbrella", "is", "red"), ("apple", "is", "green")],
        ),
    ],
)
def test_fragments_of_one_form_are_read_apart(nlp, text, triples):
    assert sorted(string_tuples(parsed(nlp, text))) == sorted(triples)


@pytest.mark.parametrize(
    "text",
    [
        "a tall, dark man",
        "a red, white and blue flag",
        "a tall man, dark hair",
        "a man in a hat, a shirt with stripes, and shorts",
        "a room with a sofa, a lamp on a table and a tv on a stand",
        "a plate with rice, a piece of meat, and vegetables",
        "a laptop on a desk, a mouse next to it",
        "a man on a horse, a hat on his head",
    ],
)
def test_lists_stay_whole(nlp, text):
    assert len(sentences(parsed(nlp, text))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "A man wearing a hat, a scarf, and gloves.",
        "A man wearing a white hat, orange vest, and red trousers works at a site.",
        "A man wearing a black t-shirt is playing a guitar.",
        "A woman in a red, white, and blue dress stands.",
        "A man stands, his hands resting on a table.",
        "A man sits, a dog lying beside him.",
        "A man rides a horse, he wears a hat.",
        "Dr. Smith holds a cup at 5 p.m.",
        "A cat\nlies on a bed.",
        "A photo of\nNew York",
        "a dog !?...",
    ],
)
def test_one_clause_stays_whole(nlp, text):
    assert len(sentences(parsed(nlp, text))) == 1


def test_participles_with_their_subjects_are_clauses(nlp):
    doc = parsed(nlp, "A small child crawling on a windowsill, a large bird landing on water.")
    assert sentences(doc)[1] == "a large bird landing on water."
    assert ("child", "land on", "windowsill") not in string_tuples(doc)


def test_a_mark_is_no_part_of_the_object_before_it(nlp):
    assert [t.object.text for t in parsed(nlp, "A boy kicks a ball;")._.triples] == ["ball"]


def test_without_parts_of_speech_sentences_end_at_full_stops_alone():
    doc = spacy.blank("en")("a boy kicks a ball, a girl reads. a dog runs")
    assert sentences(doc) == ["a boy kicks a ball, a girl reads.", "a dog runs"]


def test_no_arc_crosses_sentences(nlp):
    doc = parsed(nlp, "A boy kicks a ball, a girl reads a book. A dog runs after a cat; it rains.")
    of_token = [i for i, text in enumerate(sentences(doc)) for _ in nlp.make_doc(text)]
    assert len(set(of_token)) == 4
    assert all(of_token[token.i] == of_token[token.head.i] for token in doc)


def test_the_rules_read_sentences_of_arcs_that_cross_them():
    doc = make_doc(
        "a/DET/det/1 dog/NOUN/ROOT/1 on/ADP/case/4 the/DET/det/4 grass/NOUN/nmod/1 ./PUNCT/punct/1 "
        "a/DET/det/7 cat/NOUN/nmod/4 on/ADP/case/10 a/DET/det/10 bed/NOUN/nmod/7"
    )
    RelationTriples()(doc)
    assert string_tuples(doc) == [("dog", "on", "grass"), ("cat", "on", "bed")]
    assert [t.object.text for t in doc._.triples] == ["grass", "bed"]
