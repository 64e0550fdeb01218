"""Matchers of the tiny world with weights that use every part, without training."""

import pytest
import torch

from resg.data.vocabulary import END, START, Vocabulary
from resg.models.matcher import Matcher
from resg.presets import load_settings

SMALL = ("model.width=16", "model.text.min_count=1")


@pytest.fixture(scope="session")
def pairs(world):
    """Images and captions, two for each image."""
    return world.make_split("test", 6, 0)


@pytest.fixture(scope="session")
def make_matcher(world, pairs):
    """What makes a matcher of a preset, and its vocabulary."""

    def make(preset, *changes):
        heads = () if "scan" in preset or "vse" in preset else ("model.graph.heads=4",)
        settings = load_settings(preset, (*SMALL, *heads, *changes)).model
        own = (START, END) if settings.text.boundaries else ()
        vocabulary = Vocabulary.build(pairs[1], own_words=own)
        torch.manual_seed(0)
        matcher = Matcher(settings, vocabulary, world.feature_width).eval()
        for name, weight in matcher.named_parameters():
            if name.endswith((".gate", "order.scale", ".mix")):
                torch.nn.init.uniform_(weight, 0.5, 1.5)
        return matcher, vocabulary

    return make
