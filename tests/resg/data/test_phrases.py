"""Phrases are captions of their own, and no negatives of images that show what they name."""

from dataclasses import replace

import torch

from pipeline.manifests.manifest import CaptionItem
from pipeline.parsing.captions import caption_record
from pipeline.parsing.parser import cached_parser, parse_texts
from resg.data.phrases import PhraseTable, phrase_caption
from resg.data.vocabulary import Vocabulary
from resg.graphs.textual import textual_edges

TEXTS = ["a red dog chases the old man", "a dog", "a white cat on a red dog", "the man"]


def parsed(texts):
    docs = parse_texts(cached_parser("embedded"), texts)
    return [
        replace(caption_record(doc, CaptionItem(f"{n}#0", "c", text, "train")), image_id=f"{n}")
        for n, (doc, text) in enumerate(zip(docs, texts, strict=True))
    ]


def test_a_phrase_is_parsed_as_in_its_caption():
    caption = parsed(TEXTS[:1])[0]
    phrases = [phrase_caption(caption, span) for span in caption.objects]
    assert [phrase.text for phrase in phrases] == ["a red dog", "the old man"]
    (alone,) = parsed(["a red dog"])
    assert textual_edges(phrases[0]) == textual_edges(alone)


def test_images_that_show_what_a_phrase_names_are_no_negatives():
    captions = parsed(TEXTS)
    rows = {caption.image_id: row for row, caption in enumerate(captions)}
    vocabulary = Vocabulary.build(captions)
    table = PhraseTable(captions, rows, vocabulary, ("arcs",))
    batch = table.batch(torch.tensor([0, 1, 2, 3]), torch.arange(4), 99, torch.Generator())
    assert batch.places.tolist() == [0, 0, 1, 2, 2, 3]
    # red dog, old man, dog, white cat, red dog, man
    assert batch.is_shown.int().tolist() == [
        [1, 1, 1, 0, 1, 1],
        [0, 0, 1, 0, 0, 0],
        [1, 0, 1, 1, 1, 0],
        [0, 0, 0, 0, 0, 1],
    ]
    assert bool(batch.is_shown[batch.places, torch.arange(6)].all())
    few = table.batch(torch.tensor([0, 2]), torch.tensor([0, 2]), 3, torch.Generator())
    assert len(few.places) == len(few.captions.image) == few.is_shown.shape[1] == 3
