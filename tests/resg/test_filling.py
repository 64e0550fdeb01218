"""Batches that are filled up to a shape give what they give as they are."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.shards.records import CaptionSpan, CaptionTriple, ImageRegions, ParsedCaption
from resg.data import CaptionTable, ImageTable, drop_words
from resg.filling import Capacity, Shape, filled_edges
from resg.graphs.batch import GraphBatch
from resg.graphs.ragged import lengths
from resg.models.resg import Matcher
from resg.presets import load_settings, preset_names
from resg.train import generator
from resg.vocabulary import Vocabulary

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


def batches(images, captions, fill, drop=0.0):
    numbers = torch.tensor([3, 0, 2, 4, 1])
    return (
        images.batch(captions.image[numbers], drop, generator(1), fill),
        captions.batch(numbers, torch.arange(PAIRS), fill),
    )


def results(matcher, images, captions):
    """Everything that training takes from the model, and every gradient."""
    matcher.zero_grad()
    encoded = matcher(images, captions)
    scores = matcher.score(*encoded)
    found = [scores, *(t for side in encoded for t in (side.embeddings, side.nodes))]
    sum((tensor * tensor.detach().cos()).sum() for tensor in found).backward()
    gradients = {
        name: torch.zeros_like(weight) if weight.grad is None else weight.grad.clone()
        for name, weight in matcher.named_parameters()
    }
    return found, [side.ptr for side in encoded], gradients


def assert_same(matcher, plain, filled):
    first, first_ptr, first_gradients = results(matcher, *plain)
    second, second_ptr, second_gradients = results(matcher, *filled)
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
    settings = load_settings(preset, (*small, "model.graph.dropout=0", *changes))
    torch.manual_seed(0)
    matcher = Matcher(settings.model, vocabulary, WIDTH)
    for name, weight in matcher.named_parameters():
        if name.endswith(".out.weight"):  # starts at 0, and no edge would make a difference
            torch.nn.init.xavier_uniform_(weight)
    return matcher


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_gives_the_same_for_a_filled_batch(preset):
    images, captions, vocabulary = make_tables()
    fill = Shape(regions=8, words=16, edges=128, device=CPU)
    plain, filled = batches(images, captions, None), batches(images, captions, fill)
    assert filled[0].features.shape == (PAIRS * 8, WIDTH)
    assert filled[1].words.shape == (PAIRS * 16,)
    assert filled[1].edges.types.shape[0] == 128 > plain[1].edges.types.shape[0]
    parts = "model.graph.content=true", "model.graph.contextual_order=true"
    assert_same(make_matcher(preset, vocabulary), plain, filled)
    if preset.startswith("resg"):
        assert_same(make_matcher(preset, vocabulary, *parts), plain, filled)


@pytest.mark.parametrize("has_boxes", [True, False])
@pytest.mark.parametrize("edges", ["[]", "[spatial]", "[neighbours]", "[spatial, neighbours]"])
def test_every_kind_of_visual_edge_is_the_same_in_a_filled_batch(edges, has_boxes):
    images, captions, vocabulary = make_tables(has_boxes)
    matcher = make_matcher("resg-gru", vocabulary, f"model.visual_graph.edges={edges}")
    fill = Shape(regions=6, words=12, edges=100, device=CPU)
    assert_same(matcher, batches(images, captions, None), batches(images, captions, fill))


def test_the_same_words_are_dropped_of_a_filled_batch():
    images, captions, _ = make_tables()
    fill = Shape(regions=6, words=16, edges=128, device=CPU)
    plain, filled = (
        drop_words(batches(images, captions, shape)[1], 0.5, generator(2)) for shape in (None, fill)
    )
    assert 0 < int((plain.words == 0).sum()) < len(plain.words)
    assert torch.equal(filled.words[filled.layout.valid_rows], plain.words)
    assert int((filled.words != 0).sum()) == int((plain.words != 0).sum())


def test_images_that_are_full_and_dropped_regions_are_the_same_in_a_filled_batch():
    images, captions, vocabulary = make_tables(regions=(6,) * PAIRS)
    matcher = make_matcher("resg-gru", vocabulary)
    fill = Shape(regions=6, words=12, edges=100, device=CPU)
    plain, filled = batches(images, captions, None), batches(images, captions, fill)
    assert filled[0].layout.valid_rows is None
    assert_same(matcher, plain, filled)
    plain, filled = batches(images, captions, None, 0.4), batches(images, captions, fill, 0.4)
    assert filled[0].layout.valid_rows is not None
    assert_same(matcher, plain, filled)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=5), st.integers(0, 30), st.data())
def test_filled_edges_hold_the_edges_and_fill_up_filling_rows_alone(counts, more, data):
    longest = 6
    is_own = np.arange(longest) < np.array(counts)[:, None]
    filling = np.flatnonzero(~is_own)
    pairs = [
        (longest * group + target, longest * group + source)
        for group, count in enumerate(counts)
        for target in range(count)
        for source in range(count)
    ]
    own = sorted(data.draw(st.lists(st.sampled_from(pairs), unique=True))) if pairs else []
    more = min(more, longest * len(filling))
    targets, sources = np.array(own, np.int64).reshape(-1, 2).T
    all_targets, all_sources, place = filled_edges(
        targets, sources, filling, longest, len(own) + more
    )
    assert list(zip(all_targets[place], all_sources[place], strict=True)) == own
    others = np.setdiff1d(np.arange(len(own) + more), place)
    assert set(all_targets[others]) <= set(filling)
    assert (np.diff(all_targets * longest * len(counts) + all_sources) > 0).all()  # sorted, once
    GraphBatch.from_edges(
        [longest] * len(counts), np.stack([all_sources, all_targets], 1)
    )  # refuses an edge between groups


def test_a_batch_that_does_not_fit_has_no_shape():
    _, captions, _ = make_tables()
    regions = torch.tensor(REGIONS)
    sizes = captions.num_words, captions.num_edges
    capacity = Capacity.of(PAIRS, regions, *sizes, CPU)
    assert capacity.shape(torch.arange(PAIRS)) == Shape(6, 16, capacity.edges, CPU)
    assert capacity.edges >= int(captions.num_edges.sum())
    assert capacity.shape(torch.arange(PAIRS - 1)) is None  # the last batch of an epoch
    assert (
        Capacity.of(PAIRS, regions, captions.num_words * 10, sizes[1], CPU).shape(
            torch.arange(PAIRS)
        )
        is None
    )  # a caption of more words than an attention tile has
    assert (
        Capacity.of(2, regions, torch.tensor([1, 1, 9]), torch.tensor([1, 1, 999]), CPU).shape(
            torch.tensor([2, 2])
        )
        is None
    )  # more edges than a random batch has
    assert Capacity.of(PAIRS, torch.tensor([3, 0]), *sizes, CPU) is None
    assert Capacity.of(PAIRS, torch.tensor([3, 65]), *sizes, CPU) is None
    assert lengths(captions.word_ptr).tolist() == captions.num_words.tolist()
