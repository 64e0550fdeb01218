"""Captions: true of their image alone, well formed, varied, with the triples that they state."""

import re
from collections import Counter

import numpy as np
import pytest

from pipeline.scenes.ambiguity import ambiguous_captions, caption_graph
from pipeline.scenes.meaning import CaptionGraph, Mention, Thing
from pipeline.scenes.relations import loose_relations, relations
from pipeline.scenes.wording import POSTURES, PREPOSITIONS, VERBS, Style, clause, lot


def things_of(scene):
    return [Thing.of(item) for item in scene.objects]


def all_captions(captioned_twins):
    return [c for _, both in captioned_twins for captions in both for c in captions]


def test_caption_is_true_of_its_scene_and_false_of_the_twin(captioned_twins):
    for twins, both in captioned_twins:
        for own, twin in ((0, 1), (1, 0)):
            for caption in both[own]:
                scene, other = twins.scenes[own], twins.scenes[twin]
                assert caption.graph.is_true_of(things_of(scene), relations(scene)), caption.text
                assert not caption.graph.is_true_of(things_of(other), loose_relations(other))


def test_noun_phrase_fits_as_many_objects_as_it_means(captioned_twins):
    for twins, both in captioned_twins:
        for scene, captions in zip(twins.scenes, both, strict=True):
            for caption in captions:
                for mention in caption.graph.mentions:
                    assert sum(map(mention.fits, things_of(scene))) == mention.count, caption.text


def test_an_image_has_five_different_captions(captioned_twins):
    for _, both in captioned_twins:
        assert [len({caption.text for caption in captions}) for captions in both] == [5, 5]


def test_sentences_are_well_formed(captioned_twins):
    for caption in all_captions(captioned_twins):
        text = caption.text
        assert re.fullmatch(r"[A-Z][a-z]*( [a-z]+,?)+\.", text), text
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]|\b(\w+) \1\b", text.lower()), text


def test_captions_vary(captioned_twins):
    texts = [caption.text.lower() for caption in all_captions(captioned_twins)]
    wanted = (
        r"\bcovers\b", r"\bis (partly )?covered by\b", r"\bcovering\b", r"^there is\b",
        r"^there are two\b", r"\btwo\b", r", which\b", r"\bthat is\b", r" and is\b",
        r" and .* are\b", r"^(to the left|left|on the left) of\b", r"\bbeneath\b", r"\bunder\b",
        r"\bto the right of\b", r"\bon top of\b", r"\bsurrounded by\b", r"\bsupports?\b",
        r"\bin front of\b", r"\bbehind\b", r"\bwithin\b", r"\bsitting\b", r"\bhovers\b",
    )  # fmt: skip
    missing = [pattern for pattern in wanted if not any(re.search(pattern, t) for t in texts)]
    assert not missing
    assert len(set(texts)) > 0.97 * len(texts)


def test_triples_use_words_of_the_caption(captioned_twins):
    numbers = {"2": "two", "3": "three"}
    for caption in all_captions(captioned_twins):
        words = re.findall(r"[a-z]+", caption.text.lower())
        for subject, predicate, other in caption.triples:
            assert subject in words
            assert numbers.get(other, other) in words
            if predicate != "is":
                assert predicate.split()[-1] in words or predicate in {
                    verb.split()[-1] for verbs in VERBS.values() for verb in verbs
                }


PLAIN = re.compile(
    r"(?:The|An?) (?:\w+ )*?(\w+) is (?:to the |on the )?(left of|right of|above|behind|inside) "
    r"(?:the|an?) (?:\w+ )*?(\w+)\."
)
PASSIVE = re.compile(
    r"(?:The|An?) (?:\w+ )*?(\w+) is (?:partly )?(covered|surrounded|supported) by "
    r"(?:the|an?) (?:\w+ )*?(\w+)\."
)


def test_triple_says_who_stands_in_which_relation_to_whom(captioned_twins):
    seen = Counter()
    lemma = {"covered": "cover", "surrounded": "surround", "supported": "support"}
    for caption in all_captions(captioned_twins):
        if re.search(r" and |,| that ", caption.text):
            continue
        if match := PLAIN.fullmatch(caption.text):
            assert caption.triples[0] == match.groups(), caption.text
            seen["plain"] += 1
        if match := PASSIVE.fullmatch(caption.text):
            patient, verb, agent = match.groups()
            assert caption.triples[0] == (agent, lemma[verb], patient), caption.text
            seen["passive"] += 1
    assert seen["plain"] > 20
    assert seen["passive"] > 5


@pytest.mark.parametrize("relation", PREPOSITIONS)
def test_words_for_a_relation_never_change_the_relation(relation):
    for manner in ("copula", "posture", "verb"):
        for choice in range(12):
            said = clause(0, relation, 1, Style(manner, choice))
            subject, name, other = said.relation
            assert (subject, name, other) == (0, relation, 1) or (
                manner == "verb" and (subject, other) == (1, 0) and said.finite.endswith(" by")
            )
            assert said.predicate[0] == subject
            assert said.finite.startswith("is ") or said.finite.split()[-1]


def test_plural_subject_takes_plural_verbs():
    assert clause(0, "left of", 1, Style("copula", 0), plural=True).finite == "are to the left of"
    posture = clause(0, "on", 1, Style("posture", 3), plural=True).finite
    assert posture.split()[0] in POSTURES["on"]


def test_style_uses_verbs_only_where_there_are_some():
    rng = np.random.default_rng(0)
    assert {lot(rng, "left of").manner for _ in range(50)} == {"copula", "posture"}
    assert "verb" in {lot(rng, "in front of").manner for _ in range(50)}


def test_meaning_needs_objects_of_their_own_for_each_mention():
    circle = Thing("circle", frozenset({"red", "small", "plain"}))
    both = CaptionGraph((Mention("circle", ("red",)), Mention("circle", ("small",))), ())
    assert not both.is_true_of([circle], set())
    assert both.is_true_of([circle, circle], set())
    two = CaptionGraph((Mention("circle", (), 2), Mention("star")), ((0, "above", 1),))
    star = Thing("star", frozenset())
    assert two.is_true_of([circle, circle, star], {(0, "above", 2), (1, "above", 2)})
    assert not two.is_true_of([circle, circle, star], {(0, "above", 2)})


def test_caption_that_is_true_of_another_image_is_found(scenes, tmp_path):
    import json

    instances = json.loads((scenes.path / "instances.json").read_text())
    image = next(image for image in instances["images"] if image["split"] == "test")
    double = dict(image, id=10_000, file_name="double.png")
    instances["images"].append(double)
    shift = 1_000_000
    for key, numbers in (("annotations", ("id",)), ("relations", ("subject_id", "object_id"))):
        instances[key] += [
            dict(entry, image_id=10_000, **{number: entry[number] + shift for number in numbers})
            for entry in instances[key]
            if entry["image_id"] == image["id"]
        ]
    (tmp_path / "instances.json").write_text(json.dumps(instances))
    (tmp_path / "captions.json").write_bytes((scenes.path / "captions.json").read_bytes())
    found = ambiguous_captions(tmp_path, "test")
    for k in range(5):
        assert "double.png" in found[f"{image['file_name']}#{k}"]


def test_few_captions_are_true_of_other_images(scenes):
    for split, share in (("test", 0.05), ("val", 0.05), ("train", 0.05)):
        number = sum(image["split"] == split for image in scenes.captions["images"])
        assert len(ambiguous_captions(scenes.path, split)) <= share * 5 * number


def test_graph_of_a_written_caption_names_its_shapes(scenes):
    shapes = set(scenes.shapes.values())
    for image in scenes.captions["images"]:
        for sentence in image["sentences"]:
            graph = caption_graph(sentence)
            assert {mention.shape for mention in graph.mentions} <= shapes
            assert graph.relations
