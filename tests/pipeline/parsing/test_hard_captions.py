"""Real captions of kinds that are easily misread, with gold by hand; and nothing is invented.

`hard_captions.txt` has one caption per line, of Flickr8k's train and Flickr30K's train and
validation parts, with its triples in FACTUAL's conventions; a line that begins with `#` names the
kind of those after it.
"""

import gzip
import re
from collections import defaultdict
from pathlib import Path

import pytest

from pipeline.manifests.caption_text import clean_text, fault_of
from pipeline.parsing.doc_triples import IS, string_tuples
from pipeline.parsing.embedded import EMBEDDED_FOLDER, LEARNED
from pipeline.parsing.parser import load_parser, parse_texts
from pipeline.parsing.scene_graph.model import SceneGraphModel
from pipeline.parsing.scene_graph.normal_forms import IRREGULAR, NUMBERS, PRONOUNS, canonical
from pipeline.parsing.score import spice_f1

GLUE = frozenset(("in", "on", "at", "of", "to", "the", "with"))
ABSTRACT = {"have", "wear", "in", "on", "with", "near", "next to"}
SAME = {
    "next": "beside besides",
    "top": "atop",
    "towards": "toward",
    "on": "onto upon",
    "in": "into inside",
    "under": "underneath beneath below",
    "through": "thru",
    "sit": "seated",
    "lay": "lie lies lying",
    "front": "infront",
    "among": "amongst",
}
LEMMA = SceneGraphModel.load(EMBEDDED_FOLDER / LEARNED).normal_forms.lemma
LEAST_F1 = {
    "fronted": 87,
    "plain verb or object": 79,
    "words invented": 82,
    "attribute on the wrong noun": 89,
    "argument of another clause": 88,
    "negation": 92,
}


def hard_captions():
    kinds, kind = defaultdict(list), ""
    text = Path(__file__).with_name("hard_captions.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        if line.startswith("# "):
            kind = line[2:]
            continue
        caption, _, gold = line.partition(" | ")
        triples = [tuple(item.split(", ")) for item in re.findall(r"\(([^)]*)\)", gold)]
        kinds[kind].append((caption, triples))
    return kinds


KINDS = hard_captions()


@pytest.fixture(scope="module")
def nlp():
    return load_parser()


@pytest.mark.parametrize("kind", LEAST_F1)
def test_kind_is_read_as_well_as_before(kind, nlp):
    captions = KINDS[kind]
    docs = parse_texts(nlp, [caption for caption, _ in captions])
    f1 = [spice_f1(string_tuples(d), g) for d, (_, g) in zip(docs, captions, strict=True)]
    assert len(f1) >= 20
    assert 100 * sum(f1) / len(f1) >= LEAST_F1[kind]


def test_every_denying_caption_is_flagged_and_says_nothing_denied(nlp):
    for doc in parse_texts(nlp, [caption for caption, _ in KINDS["negation"]]):
        assert doc._.negated, doc.text
        words = {word for triple in string_tuples(doc) for part in triple for word in part.split()}
        assert words.isdisjoint({"no", "not", "without", "nobody", "nothing"}), doc.text


def test_other_captions_are_not_flagged(nlp):
    texts = [c for kind, captions in KINDS.items() if kind != "negation" for c, _ in captions]
    assert not any(doc._.negated for doc in parse_texts(nlp, texts))


def test_nothing_is_invented_in_hard_captions(nlp):
    texts = [caption for captions in KINDS.values() for caption, _ in captions]
    assert invented(nlp, texts) == []


@pytest.mark.real_data
def test_nothing_is_invented_in_5000_captions(nlp, shared_data):
    with gzip.open(shared_data / "captions" / "flickr30k_train.tsv.gz", "rt") as stream:
        texts = [clean_text(line.rstrip("\n").partition("\t")[2]) for line in stream]
    texts = [text for text in texts[::29] if fault_of(text) is None]
    assert len(texts) >= 4_900
    assert invented(nlp, texts[:5_000]) == []


def invented(nlp, texts):
    """Strings of triples that their captions do not support."""
    return [
        (doc.text, triple.strings)
        for doc in parse_texts(nlp, texts)
        for triple in doc._.triples
        if not _is_supported(doc, triple)
    ]


def _is_supported(doc, triple):
    words = [token.lower_ for token in doc]
    words += [token.lemma_.lower() for token in doc] + [LEMMA(word) for word in words]
    subject, predicate, last = triple.strings
    return (
        _is_named(subject, words) and _is_named(last, words) and _is_said(predicate, triple, words)
    )


def _is_named(string, words):
    if canonical(string) in canonical("".join(words)):
        return True
    return all(any(_is_form(part, word) for word in words) for part in string.split())


def _is_form(part, word):
    """Whether a word is the same, its digit, its pronoun's name, or has the same stem."""
    if part in (word, NUMBERS.get(word), PRONOUNS.get(word), IRREGULAR.get(word)):
        return True
    shared = next((i for i, (a, b) in enumerate(zip(part, word, strict=False)) if a != b), 99)
    return shared >= max(2, min(len(part), len(word)) - 3)


def _is_said(predicate, triple, words):
    if predicate == IS:
        return True
    if triple.predicate is None and predicate in ABSTRACT:
        return True
    parts = predicate.split()
    content = [part for part in parts if part not in GLUE] or parts
    same = [*words, *(part for part in SAME for word in SAME[part].split() if word in words)]
    return all(any(_is_form(part, word) for word in same) for part in content)
