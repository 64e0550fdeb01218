"""The model that ships with the package."""

import json
import warnings
from pathlib import Path

import pytest
import spacy
from spacy.tokens import Doc, DocBin

from pipeline.parsing.doc_triples import string_tuples
from pipeline.parsing.parser import EMBEDDED, load_parser, parse_texts
from pipeline.parsing.score import read_gold, score

MODEL = Path(spacy.util.get_package_path("pipeline")) / "parsing/model"
FACTUAL = Path(__file__).parents[3] / "../shared/data/factual/dev.csv.gz"


@pytest.fixture(scope="module")
def nlp():
    return load_parser(EMBEDDED)


def triples(nlp, caption):
    return set(string_tuples(nlp(caption)))


def test_it_is_small_and_says_what_it_is():
    files = [path for path in MODEL.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 12 * 2**20
    meta = json.loads((MODEL / "meta.json").read_text())
    assert meta["license"] == "CC BY-SA 4.0"
    names = [source["name"] for source in meta["sources"]]
    assert names[:2] == ["UD English EWT", "FACTUAL"]
    assert any("Flickr30K" in name for name in names)
    assert any("MiniLM" in name for name in names)
    assert meta["performance"]["pos_acc"] >= 0.93
    assert meta["performance"]["dep_las"] >= 0.80


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a man riding a brown horse", {("man", "ride", "horse"), ("horse", "is", "brown")}),
        ("A dog is sitting on top of a car.", {("dog", "sit on top of", "car")}),
        ("two cats under the table", {("cats", "is", "2"), ("cats", "under", "table")}),
        ("leg of the man", {("man", "have", "leg")}),
        ("the table is covered by a cloth", {("cloth", "cover", "table")}),
        ("dog and cat on a sofa", {("dog", "on", "sofa"), ("cat", "on", "sofa")}),
    ],
)
def test_captions(nlp, caption, expected):
    assert triples(nlp, caption) == expected


REAL = {
    "preposition": ("A dog under a sheet.", {("dog", "under", "sheet")}),
    "multi-word preposition": (
        "Dog on a rock next to water.",
        {("dog", "on", "rock"), ("dog", "next to", "water")},
    ),
    "multi-word preposition on top of": (
        "A bee on top of a flower",
        {("bee", "on top of", "flower")},
    ),
    "multi-word preposition in front of": (
        "The man is in front of a building",
        {("man", "in front of", "building")},
    ),
    "phrasal verb": ("A man climbing up a rope.", {("man", "climb up", "rope")}),
    "passive with agent": ("A man is being pulled by a donkey.", {("donkey", "pull", "man")}),
    "passive without agent": (
        "Two cars are parked outside.",
        {("cars", "is", "2"), ("cars", "is", "parked"), ("cars", "is", "outside")},
    ),
    "progressive clause": ("There is a man playing golf.", {("man", "play", "golf")}),
    "participial clause": ("A man holding a fish.", {("man", "hold", "fish")}),
    "relative clause with who": ("A man who is cutting hair.", {("man", "cut", "hair")}),
    "relative clause with that": ("A boy that is chasing a bird.", {("boy", "chase", "bird")}),
    "reduced relative clause": (
        "A boy in a flower carriage pulled by dogs.",
        {("boy", "in", "flower carriage"), ("dogs", "pull", "flower carriage")},
    ),
    "coordinated subjects": (
        "A girl and a boy laughing",
        {("girl", "is", "laughing"), ("boy", "is", "laughing")},
    ),
    "coordinated verbs": (
        "A baby smiling and playing.",
        {("baby", "is", "smiling"), ("baby", "is", "playing")},
    ),
    "coordinated objects": (
        "A woman holding a ball and a dog",
        {("woman", "hold", "ball"), ("woman", "hold", "dog")},
    ),
    "coordinated attributes": (
        "A small black and white dog.",
        {("dog", "is", "small"), ("dog", "is", "black"), ("dog", "is", "white")},
    ),
    "clauses joined by and": (
        "Four people are playing Twister and one person is watching.",
        {("people", "is", "4"), ("people", "play", "twister"), ("person", "is", "watching")},
    ),
    "clauses joined by while": (
        "Two men are walking on the street while a lady is walking on the sidewalk.",
        {("men", "is", "2"), ("men", "walk on", "street"), ("lady", "walk on", "sidewalk")},
    ),
    "copula with an adjective": (
        "A boy is asleep in a cardboard box.",
        {("boy", "is", "asleep"), ("boy", "in", "cardboard box")},
    ),
    "copula": ("A dog is in the water.", {("dog", "in", "water")}),
    "existential": ("There is a truck on fire.", {("truck", "on", "fire")}),
    "possessive": (
        "A dog biting a man's rear",
        {("dog", "bite", "rear"), ("man", "have", "rear")},
    ),
    "numeral": ("Two dogs running.", {("dogs", "is", "2"), ("dogs", "is", "running")}),
    "quantity noun": (
        "A group of dogs playing",
        {("dogs", "is", "group of"), ("dogs", "is", "playing")},
    ),
    "quantity noun that says nothing": (
        "A pair of glasses is in the road.",
        {("glasses", "in", "road")},
    ),
    "compound": ("A soccer net at sunset.", {("soccer net", "at", "sunset")}),
    "comparative": (
        "A dog chases a smaller dog.",
        {("dog", "chase", "dog"), ("dog", "is", "smaller")},
    ),
    "comparative of two things": (
        "The elephant is shorter than the small tree.",
        {("elephant", "shorter than", "tree"), ("tree", "is", "small")},
    ),
    "negation": ("A man with no hair is singing.", {("man", "is", "singing")}),
    "noun phrase": ("A black dog.", {("dog", "is", "black")}),
    "upper case": ("A BLACK DOG.", {("dog", "is", "black")}),
    "no final stop": ("A car is in the water", {("car", "in", "water")}),
    "misspelt": (
        "Two people are siting on a black bench.",
        {("people", "sit on", "bench"), ("people", "is", "2"), ("bench", "is", "black")},
    ),
}
"""Captions of Flickr8K, Flickr30K and FACTUAL, one of them in capitals here."""


@pytest.mark.parametrize("topic", REAL)
def test_real_captions(nlp, topic):
    caption, expected = REAL[topic]
    (doc,) = parse_texts(nlp, [caption])
    assert set(string_tuples(doc)) == expected
    assert doc._.negated == (topic == "negation")


def test_predicate_does_not_begin_twice(nlp):
    caption = "a young man in a red hat riding a horse in front of two trees"
    predicates = {strings[1] for strings in triples(nlp, caption) if len(strings) == 3}
    assert "in front of" in predicates
    assert not any(words[:1] == words[1:2] for words in map(str.split, predicates))


def test_triples_name_their_component_and_point_at_words(nlp):
    doc = nlp("leg of the man sitting on a bench")
    assert {triple.rule for triple in doc._.triples} == {"scene_graph"}
    by_string = {triple.strings[1]: triple for triple in doc._.triples}
    assert by_string["have"].predicate is None
    assert by_string["sit on"].predicate.text == "sitting on"
    assert by_string["sit on"].object.text == "bench"


def test_arcs_parts_of_speech_and_lemmas_are_set(nlp):
    doc = nlp("two dogs are chasing a ball")
    assert [t.pos_ for t in doc] == ["NUM", "NOUN", "AUX", "VERB", "DET", "NOUN"]
    assert [t.lemma_ for t in doc] == ["two", "dog", "be", "chase", "a", "ball"]
    assert doc[1].head.text == "chasing"
    assert doc[1].dep_ == "nsubj"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "...",
        "😀 😀",
        "<b>dog</b>",
        "رجل يركب حصانا",
        "a " * 300,
        "dog " * 300,
        "A\u00a0B",
        "x" * 3000,
    ],
)
def test_odd_texts_are_survived(nlp, text):
    for doc in nlp.pipe([text, "a dog on a bench"]):
        string_tuples(doc)
    assert triples(nlp, "a dog on a bench") == {("dog", "on", "bench")}


def test_triples_survive_bytes_and_processes(nlp):
    texts = ["a man riding a horse", "", "leg of the man"] * 2
    alone = [string_tuples(doc) for doc in nlp.pipe(texts)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork in a process with threads
        forked = [string_tuples(doc) for doc in nlp.pipe(texts, n_process=2, batch_size=2)]
    assert forked == alone
    docs = list(nlp.pipe(texts))
    again = [Doc(nlp.vocab).from_bytes(doc.to_bytes()) for doc in docs]
    assert [string_tuples(doc) for doc in again] == alone
    packed = DocBin(docs=docs, store_user_data=True).get_docs(nlp.vocab)
    assert [string_tuples(doc) for doc in packed] == alone


def test_batches_change_nothing(nlp):
    texts = [
        "a man riding a horse",
        "a man is singing and a woman is holding a cup while a dog is sleeping",
        "two cats under the table near a chair",
        "red bus",
    ]
    assert [string_tuples(nlp(text)) for text in texts] == [
        string_tuples(doc) for doc in nlp.pipe(texts)
    ]


@pytest.mark.real_data
@pytest.mark.skipif(not FACTUAL.is_file(), reason="../shared/data/factual is not here")
def test_figures_on_held_out_captions(nlp):
    rows = list(read_gold(FACTUAL))
    parsed = [string_tuples(doc) for doc in parse_texts(nlp, [row.caption for row in rows])]
    result = score(parsed, [row.triples for row in rows])
    assert result.set_match >= 76
    assert result.spice_f1 >= 90.7
