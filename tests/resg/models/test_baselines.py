"""One training step's embeddings and loss of the baselines, against plain PyTorch.

The plain code reads the released code's formulas item by item: its own batch norm, its own GRU over
one caption at a time, sums over anchors.
"""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from resg.data.tables import CaptionTable, ImageTable
from resg.data.vocabulary import END, START, Vocabulary
from resg.models.matcher import Matcher
from resg.presets import load_settings
from resg.training.losses import total_loss

CPU = torch.device("cpu")
PAIRS, WIDTH = 5, 8
NAMES = ("red", "green", "blue", "white", "pink")


class Case:
    """A matcher in training mode, images of two to four regions, captions of five words."""

    def __init__(self, preset, world):
        changes = (f"model.width={WIDTH}", "model.text.word_width=6")
        self.settings = load_settings(preset, changes)
        random = np.random.default_rng(0)
        images, captions = [], []
        for k in range(PAIRS):
            colours = NAMES[: 2 + k % 3]
            images.append(world.make_image(f"{k}", colours, random))
            captions.append(world.make_caption(f"{k}#0", f"{k}", NAMES[k], NAMES[k - 1]))
        vocabulary = Vocabulary.build(captions, own_words=(START, END))
        torch.manual_seed(0)
        self.matcher = Matcher(self.settings.model, vocabulary, world.feature_width).train()
        table = ImageTable(images, "ram", CPU)
        kinds = self.settings.model.textual_graph.edges
        rows = torch.arange(PAIRS)
        self.images = table.batch(rows)
        self.captions = CaptionTable(captions, table.row, vocabulary, kinds).batch(rows, rows)
        self.features = [torch.from_numpy(image.features).float() for image in images]
        self.words = [
            [vocabulary.word_index[form] for form in (START, *caption.forms, END)]
            for caption in captions
        ]

    def step(self, hardness):
        """Embeddings and loss by the product."""
        images, captions = self.matcher(self.images, self.captions)
        scores = self.matcher.score(images, captions)
        own = torch.eye(PAIRS, dtype=torch.bool)
        loss = total_loss(
            scores, images.embeddings, captions.embeddings, own, self.settings.loss, hardness
        )
        return images.embeddings, captions.embeddings, scores, loss.total

    def states(self):
        """States of each caption's words, the mean of both directions."""
        own = self.matcher.words
        gru = nn.GRU(6, WIDTH, batch_first=True, bidirectional=own.gru.bidirectional)
        gru.load_state_dict(own.gru.state_dict())
        for words in self.words:
            states, _ = gru(own.embedding.weight[words][None])
            yield states[0].unflatten(-1, (-1, WIDTH)).mean(1)


def generalised_pooling(pooling, nodes):
    length = len(nodes)
    codes = torch.zeros(length, 32)
    for place in range(length):
        for step in range(0, 32, 2):
            angle = place * math.exp(-math.log(10000.0) * step / 32)
            codes[place, step], codes[place, step + 1] = math.sin(angle), math.cos(angle)
    states, _ = pooling.positions(codes[None])
    weights = pooling.weight(states[0].unflatten(-1, (2, -1)).mean(1))[:, 0]
    return (weights / 0.1).softmax(0) @ nodes.sort(0, descending=True).values


def summed_hinge(scores, hardest):
    """Loss of VSE++'s, SCAN's and VSE-infinity's code: a sum over images and captions."""
    total = torch.zeros(())
    for anchor in range(PAIRS):
        own = scores[anchor, anchor]
        for rivals in (scores[anchor], scores[:, anchor]):
            costs = [(0.2 + s - own).clamp_min(0) for k, s in enumerate(rivals) if k != anchor]
            total = total + (max(costs) if hardest else sum(costs))
    return total


@pytest.mark.parametrize("hardest", [False, True])
def test_vse_infinity(hardest, world):
    case = Case("vse-inf", world)
    regions = case.matcher.regions
    norm = nn.BatchNorm1d(WIDTH // 2)
    features = torch.cat(case.features)
    hidden = norm(F.linear(features, regions.mlp.hidden.weight, regions.mlp.hidden.bias))
    nodes = F.linear(features, regions.project.weight) + regions.mlp.out(hidden.relu())
    assert not regions.project.bias.any()
    images = [
        generalised_pooling(case.matcher.image_pooling, own)
        for own in nodes.split([len(own) for own in case.features])
    ]
    captions = [generalised_pooling(case.matcher.caption_pooling, s) for s in case.states()]
    images, captions = (F.normalize(torch.stack(rows), dim=-1) for rows in (images, captions))
    expected = summed_hinge(images @ captions.T, hardest)
    found = case.step(float(hardest))
    torch.testing.assert_close(found[0], images, rtol=0, atol=1e-6)
    torch.testing.assert_close(found[1], captions, rtol=0, atol=1e-6)
    torch.testing.assert_close(found[3] * 2 * PAIRS, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(regions.mlp.norm.running_mean, norm.running_mean)
    torch.testing.assert_close(regions.mlp.norm.running_var, norm.running_var)
    weights = regions.mlp.hidden.weight, regions.project.weight, case.matcher.words.embedding.weight
    ours = torch.autograd.grad(found[3] * 2 * PAIRS, weights)
    for mine, theirs in zip(ours, torch.autograd.grad(expected, weights), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_vse_plus_plus(world):
    case = Case("vse++", world)
    images = torch.stack([case.matcher.regions.project(own.mean(0)) for own in case.features])
    captions = torch.stack([states[-1] for states in case.states()])
    images, captions = F.normalize(images, dim=-1), F.normalize(captions, dim=-1)
    found = case.step(1.0)
    torch.testing.assert_close(found[2], images @ captions.T, rtol=0, atol=1e-6)
    expected = summed_hinge(images @ captions.T, hardest=True)
    torch.testing.assert_close(found[3] * 2 * PAIRS, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("preset", ["scan-t2i", "scan-i2t"])
def test_scan(preset, world):
    case = Case(preset, world)
    scores = torch.zeros(PAIRS, PAIRS)
    captions = [F.normalize(states, dim=-1) for states in case.states()]
    for i, own in enumerate(case.features):
        regions = F.normalize(case.matcher.regions.project(own), dim=-1)
        for c, words in enumerate(captions):
            asking, asked, smooth, sharpness = (
                (words, regions, 9, 6) if preset == "scan-t2i" else (regions, words, 4, 5)
            )
            cosines = F.leaky_relu(asked @ asking.T, 0.1)
            cosines = cosines / (cosines.norm(dim=1, keepdim=True) + 1e-8)
            attended = (smooth * cosines).softmax(0).T @ asked
            similar = F.cosine_similarity(asking, attended, dim=1)
            scores[i, c] = (similar * sharpness).exp().sum().log() / sharpness
    found = case.step(1.0)
    torch.testing.assert_close(found[2], scores, rtol=0, atol=1e-5)
    expected = summed_hinge(scores, hardest=True)
    torch.testing.assert_close(found[3] * 2 * PAIRS, expected, rtol=1e-4, atol=1e-5)
