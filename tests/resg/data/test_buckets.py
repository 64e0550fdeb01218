"""Padded batches give the results of the same batches without padding."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.shards.records import CaptionSpan, CaptionTriple, ImageRegions, ParsedCaption
from resg.config import TrainSettings
from resg.data.buckets import Buckets, BucketShape, pad_captions, pad_edges, pad_images
from resg.data.sampling import seeded_generator as generator
from resg.data.tables import CaptionTable, ImageTable
from resg.data.vocabulary import Vocabulary
from resg.data.word_drop import DroppedWords
from resg.graphs.batch import GraphBatch
from resg.models.matcher import Matcher
from resg.presets import load_settings, preset_names

CPU = torch.device("cpu")
PRESETS = [name for name in preset_names() if name != "resg-bert"]
WIDTH, PAIRS = 12, 5
REGIONS = (4, 6, 1, 6, 3)
WORDS = (3, 7, 4, 11, 5)


def make_image(number, count, random, has_boxes=True):
    corners = random.uniform(0, 60, (count, 2))
    boxes = np.concatenate([corners, corners + random.uniform(5, 40, (count, 2))], 1)
    features = random.normal(size=(count, WIDTH)).astype(np.float16)
    place = (boxes.astype(np.float32), (100, 100)) if has_boxes else (None, None)
    return ImageRegions(f"image {number}", features, *place)


def make_caption(number, count, random):
    words = [f"w{word}" for word in random.integers(0, 9, count)]
    spans = [CaptionSpan(place, place + 1, words[place]) for place in range(3)]
    return ParsedCaption(
        f"caption {number}",
        f"image {number}",
        " ".join(words),
        forms=tuple(words),
        lemmas=tuple(words),
        pos=("NOUN",) * count,
        heads=(0, *range(count - 1)),
        deprels=tuple(f"label{label}" for label in random.integers(0, 4, count)),
        objects=(spans[0], spans[2]),
        triples=(CaptionTriple(0, spans[1], 1, None, "verb"),),
    )


def make_tables(has_boxes=True, regions=REGIONS):
    random = np.random.default_rng(0)
    images = [make_image(i, count, random, has_boxes) for i, count in enumerate(regions)]
    captions = [make_caption(i, count, random) for i, count in enumerate(WORDS)]
    vocabulary = Vocabulary.build(captions)
    table = ImageTable(images, "map", CPU)
    edges = ("arcs", "triples")
    return table, CaptionTable(captions, table.row, vocabulary, edges), vocabulary


def batches(images, captions, shape=None, drop=0.0):
    """A batch as it is, and in a bucket of that shape."""
    rows = torch.tensor([3, 0, 2, 4, 1])
    plain = (
        images.batch(captions.image[rows], drop, generator(1)),
        captions.batch(rows, torch.arange(PAIRS)),
    )
    padded = (
        pad_images(plain[0], shape.regions, CPU),
        pad_captions(plain[1], shape.words, shape.edges, CPU),
    )
    return plain, padded


def results(matcher, images, captions):
    """Everything that training takes from the model, and every gradient."""
    matcher.zero_grad()
    encoded = [
        side.without_padding(batch.layout)
        for side, batch in zip(matcher(images, captions), (images, captions), strict=True)
    ]
    scores = matcher.score(*encoded)
    found = [scores, *(t for side in encoded for t in (side.embeddings, side.nodes))]
    sum((tensor * tensor.detach().cos()).sum() for tensor in found).backward()
    gradients = {
        name: torch.zeros_like(weight) if weight.grad is None else weight.grad.clone()
        for name, weight in matcher.named_parameters()
    }
    return found, [side.ptr for side in encoded], gradients


def assert_same(matcher, plain, padded):
    first, first_ptr, first_gradients = results(matcher, *plain)
    second, second_ptr, second_gradients = results(matcher, *padded)
    assert [p.tolist() for p in first_ptr] == [p.tolist() for p in second_ptr]
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    for name, gradient in first_gradients.items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(
            gradient, second_gradients[name], rtol=1e-4, atol=1e-5 * scale + 1e-6, msg=name
        )


def make_matcher(preset, vocabulary, *changes):
    small = ("model.width=16", "model.graph.heads=4", "model.text.word_width=8")
    settings = load_settings(
        preset, (*small, "model.graph.dropout=0", "model.graph.edge_dropout=0", *changes)
    )
    torch.manual_seed(0)
    matcher = Matcher(settings.model, vocabulary, WIDTH)
    for name, weight in matcher.named_parameters():
        if name.endswith((".gate", ".order.scale")):  # start at 0: no edge would matter
            torch.nn.init.constant_(weight, 0.5)
    return matcher


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_gives_the_same_for_a_padded_batch(preset):
    images, captions, vocabulary = make_tables()
    plain, padded = batches(images, captions, BucketShape(regions=8, words=16, edges=128))
    assert padded[0].features.shape == (PAIRS * 8, WIDTH)
    assert padded[1].words.shape == (PAIRS * 16,)
    assert padded[1].edges.types.shape[0] == 128 > plain[1].edges.types.shape[0]
    parts = "model.graph.content=false", "model.graph.residual=normed"
    assert_same(make_matcher(preset, vocabulary), plain, padded)
    if preset.startswith("resg"):
        assert_same(make_matcher(preset, vocabulary, *parts), plain, padded)


@pytest.mark.parametrize("has_boxes", [True, False])
@pytest.mark.parametrize("edges", ["[]", "[spatial]", "[neighbours]", "[spatial, neighbours]"])
def test_every_kind_of_visual_edge_is_the_same_in_a_padded_batch(edges, has_boxes):
    images, captions, vocabulary = make_tables(has_boxes)
    matcher = make_matcher("resg-gru", vocabulary, f"model.visual_graph.edges={edges}")
    assert_same(matcher, *batches(images, captions, BucketShape(regions=6, words=12, edges=100)))


def test_padding_keeps_dropped_words_and_adds_unknown_ones():
    _, captions, _ = make_tables()
    batch = captions.batch(torch.arange(PAIRS), torch.arange(PAIRS))
    settings = TrainSettings(word_drop=0.5)
    vocabulary = Vocabulary(("<unknown>",), ("<none>",))
    plain = DroppedWords.draw(captions.num_words, settings, vocabulary, generator(2)).apply(batch)
    padded = pad_captions(plain, 16, 128, CPU)
    assert 0 < int((plain.words == 0).sum()) < len(plain.words)
    assert torch.equal(padded.words[padded.layout.valid_rows], plain.words)
    assert int((padded.words != 0).sum()) == int((plain.words != 0).sum())


def test_images_that_need_no_padding_and_dropped_regions_are_the_same_in_a_padded_batch():
    images, captions, vocabulary = make_tables(regions=(6,) * PAIRS)
    matcher = make_matcher("resg-gru", vocabulary)
    shape = BucketShape(regions=6, words=12, edges=100)
    plain, padded = batches(images, captions, shape)
    assert padded[0].layout.valid_rows is None
    assert_same(matcher, plain, padded)
    plain, padded = batches(images, captions, shape, 0.4)
    assert padded[0].layout.valid_rows is not None
    assert_same(matcher, plain, padded)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=5), st.integers(0, 30), st.data())
def test_padded_edges_hold_the_edges_and_others_into_padding_rows_alone(counts, more, data):
    longest = 6
    is_own = np.arange(longest) < np.array(counts)[:, None]
    padding = np.flatnonzero(~is_own)
    pairs = [
        (longest * group + target, longest * group + source)
        for group, count in enumerate(counts)
        for target in range(count)
        for source in range(count)
    ]
    own = sorted(data.draw(st.lists(st.sampled_from(pairs), unique=True))) if pairs else []
    more = min(more, longest * len(padding))
    targets, sources = np.array(own, np.int64).reshape(-1, 2).T
    all_targets, all_sources, place = pad_edges(targets, sources, padding, longest, len(own) + more)
    assert list(zip(all_targets[place], all_sources[place], strict=True)) == own
    others = np.setdiff1d(np.arange(len(own) + more), place)
    assert set(all_targets[others]) <= set(padding)
    assert (np.diff(all_targets * longest * len(counts) + all_sources) > 0).all()  # sorted, once
    GraphBatch.from_edges(
        [longest] * len(counts), np.stack([all_sources, all_targets], 1)
    )  # refuses an edge between groups


def test_a_batch_that_does_not_fit_has_no_shape():
    _, captions, _ = make_tables()
    regions, num_edges = torch.tensor(REGIONS), captions.num_edges
    buckets = Buckets.of(PAIRS, regions, num_edges, CPU)
    whole = captions.batch(torch.arange(PAIRS), torch.arange(PAIRS))
    assert buckets.shape(whole) == BucketShape(6, 16, buckets.edges)
    assert buckets.edges >= int(num_edges.sum())
    last = captions.batch(torch.arange(PAIRS - 1), torch.arange(PAIRS - 1))
    assert buckets.shape(last) is None  # the last batch of an epoch
    many_edges = Buckets.of(PAIRS, regions, torch.full((PAIRS,), 1), CPU)
    assert many_edges.edges == 64 < whole.edges.graph.num_edges
    assert many_edges.shape(whole) is None  # more edges than a random batch has
    assert Buckets.of(PAIRS, torch.tensor([3, 0]), num_edges, CPU) is None
    assert Buckets.of(PAIRS, torch.tensor([3, 65]), num_edges, CPU) is None


def test_a_caption_of_more_words_than_an_attention_tile_has_no_shape():
    random = np.random.default_rng(0)
    captions = [make_caption(number, 64, random) for number in range(2)]
    rows = {f"image {number}": number for number in range(2)}
    table = CaptionTable(captions, rows, Vocabulary.build(captions), ("arcs",))
    buckets = Buckets.of(2, torch.tensor([3, 3]), table.num_edges, CPU)
    assert buckets.shape(table.batch(torch.arange(2), torch.arange(2))) is None
