"""Exchanging subject and object keeps the words and turns their relations round."""

import pytest

from pipeline.manifests.manifest import CaptionItem
from pipeline.parsing.captions import caption_record
from pipeline.parsing.parser import cached_parser, parse_texts
from resg.data.swapping import swapped_caption, swapped_text
from resg.graphs.textual import textual_edges


def parsed(texts):
    nlp = cached_parser("embedded")
    return [
        caption_record(doc, CaptionItem(f"c#{n}", "c", text, "test"))
        for n, (doc, text) in enumerate(zip(parse_texts(nlp, texts), texts, strict=True))
    ]


def relations(caption):
    """(subject, predicate, object) of each relation of a caption."""
    return {
        (
            caption.objects[triple.subject].string,
            triple.predicate.string,
            caption.objects[triple.object].string,
        )
        for triple in caption.triples
        if triple.attribute is None
    }


@pytest.mark.parametrize(
    ("text", "swapped"),
    [
        ("a red dog chases the old man", "the old man chases a red dog"),
        ("a boy on a horse", "a horse on a boy"),
        ("the cat sits under a car", "a car sits under the cat"),
        ("a dog stands in front of the small house", "the small house stands in front of a dog"),
        ("two boys and a man ride a horse", "a horse and a man ride two boys"),
        ("a white horse", None),
    ],
)
def test_subject_and_object_change_places_with_what_describes_them(text, swapped):
    assert swapped_text(parsed([text])[0]) == swapped


def named_edges(caption):
    """(target, source, type) of each edge, by words."""
    return {
        (caption.forms[target], caption.forms[source], name)
        for (target, source), names in textual_edges(caption).items()
        for name in names
    }


def test_the_swapped_caption_has_another_graph():
    text = "a red dog chases the old man"
    (before,) = parsed([text])
    (after,) = parsed([swapped_text(before)])
    assert relations(before) == {("dog", "chase", "man")}
    assert relations(after) == {("man", "chase", "dog")}

    assert ("dog", "chases", "subject") in named_edges(before)
    assert ("man", "chases", "subject") in named_edges(after)
    assert named_edges(before) != named_edges(after)


@pytest.mark.parametrize(
    "text",
    [
        "a red dog chases the old man",
        "a boy on a horse",
        "a small dog stands in front of the small house",
    ],
)
def test_a_swapped_caption_is_parsed_as_its_text_would_be(text):
    (caption,) = parsed([text])
    swapped = swapped_caption(caption)
    (anew,) = parsed([swapped_text(caption)])
    assert swapped.text == anew.text
    assert (swapped.forms, swapped.pos) == (anew.forms, anew.pos)
    assert relations(swapped) == relations(anew)
    assert named_edges(swapped) == named_edges(anew)


def test_swapping_twice_gives_the_caption_again():
    (caption,) = parsed(["a red dog chases the old man"])
    twice = swapped_caption(swapped_caption(caption))
    assert textual_edges(twice) == textual_edges(caption)
    assert relations(twice) == relations(caption)


def test_without_a_relation_nothing_can_be_swapped():
    assert swapped_caption(parsed(["a white horse"])[0]) is None
