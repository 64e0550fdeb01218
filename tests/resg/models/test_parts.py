"""Every part that is a setting can be turned on and off, and makes a difference."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import embedding

from resg.data.tables import CaptionTable, ImageTable
from resg.data.vocabulary import Vocabulary
from resg.models.graph_encoder import type_counts
from resg.models.matcher import Matcher
from resg.presets import load_settings
from resg.training.losses import total_loss

CPU = torch.device("cpu")
SMALL = ("model.width=16", "model.graph.heads=4", "model.text.word_width=8")
RELATIONS = np.array([[0, 1, 2], [2, 0, 1]], np.int32)  # subject, predicate, object
CHANGES = [
    "model.visual_graph.edges=[spatial]",
    "model.visual_graph.edges=[neighbours]",
    "model.visual_graph.edges=[predicates]",
    "model.visual_graph.edges=[]",
    "model.visual_graph.neighbours=1",
    "model.textual_graph.edges=[arcs]",
    "model.textual_graph.edges=[triples]",
    "model.textual_graph.edges=[]",
    "model.graph.layers=0",
    "model.graph.layers=1",
    "model.graph.heads=2",
    "model.graph.content=false",
    "model.graph.contextual_order=false",
    "model.graph.type_values=false",
    "model.graph.residual=normed",
    "model.image.layer_norm=false",
    "model.image.boxes=false",
    "model.image.mlp=true",
    "model.image.pooling=mean",
    "model.text.bidirectional=false",
    "model.text.pooling=mean",
    "model.text.pooling=last",
    "model.similarity.embeddings=false",
    "model.similarity.nodes=none",
    "model.similarity.nodes=t2i",
    "model.similarity.nodes=i2t",
    "model.similarity.match=best",
    "model.similarity.match=weighted_best",
    "model.similarity.words_temperature=1",
    "model.similarity.regions_temperature=20",
    "model.similarity.normalise=clipped_l2",
    "model.similarity.node_pooling=lse",
]


@pytest.fixture(scope="module")
def tables(world):
    images, captions = world.make_split("train", 6, 0)
    images = [replace(image, relations=RELATIONS) for image in images]
    vocabulary = Vocabulary.build(captions, predicates=("on", "near"))
    return ImageTable(images, "ram", CPU), captions[::2], vocabulary


def scored(tables, world, *changes):
    """Scores and losses of six pairs by a matcher with fixed random weights, and the matcher."""
    table, captions, vocabulary = tables
    settings = load_settings("resg-gru", (*SMALL, *changes))
    torch.manual_seed(0)
    matcher = Matcher(settings.model, vocabulary, world.feature_width).eval()
    generator = torch.Generator()
    with torch.no_grad():
        for name, weight in matcher.named_parameters():  # by name: parts left out change nothing
            generator.manual_seed(sum(name.encode()))
            weight.copy_(0.5 * torch.randn(weight.shape, generator=generator))
    rows = torch.arange(6)
    encoded = CaptionTable(captions, table.row, vocabulary, settings.model.textual_graph.edges)
    images, words = matcher(table.batch(rows), encoded.batch(rows, rows))
    scores = matcher.score(images, words)
    losses = total_loss(
        scores, images.embeddings, words.embeddings, torch.eye(6, dtype=torch.bool), settings.loss
    )
    return scores, losses.total, matcher


@pytest.mark.parametrize("change", CHANGES)
def test_a_part_makes_a_difference_and_all_its_weights_learn(change, tables, world):
    usual, _, _ = scored(tables, world)
    scores, loss, matcher = scored(tables, world, change)
    assert scores.shape == (6, 6)
    assert scores.isfinite().all()
    assert (scores - usual).abs().max() > 1e-4
    loss.backward()
    unused = {name for name, weight in matcher.named_parameters() if weight.grad is None}
    if change == "model.similarity.embeddings=false":
        assert unused <= {n for n in unused if "pooling" in n}
    elif "edges=[]" in change:
        assert all("_bias." in name for name in unused)
    else:
        assert not unused
    assert all(w.grad.isfinite().all() for w in matcher.parameters() if w.grad is not None)


def test_scores_are_cosines_in_the_resg_presets(tables, world):
    scores, _, _ = scored(tables, world)
    assert scores.abs().max() <= 1 + 1e-6


def test_a_product_with_type_counts_is_a_sum_of_embeddings():
    types = torch.tensor([[3, 1, 0], [2, 0, 0], [0, 0, 0], [1, 1, 3]])
    weight = torch.randn(4, 5, requires_grad=True)
    upstream = torch.randn(4, 5)
    with torch.no_grad():
        weight[0] = 0
    by_counts = type_counts(types, 4) @ weight
    by_embedding = embedding(types, weight, padding_idx=0).sum(1)
    torch.testing.assert_close(by_counts, by_embedding)
    grads = [
        torch.autograd.grad((b * upstream).sum(), weight)[0] for b in (by_counts, by_embedding)
    ]
    torch.testing.assert_close(*grads)
    assert not grads[0][0].any()
