"""Edges in words, by the types that the graphs give them."""

import pytest
import torch

from resg.data.vocabulary import Vocabulary
from resg.explain.leaving_out import EdgeEffect
from resg.explain.relations import textual_relation, visual_relation
from resg.graphs.visual import FIRST_PREDICATE, NEIGHBOUR, spatial_classes

VOCABULARY = Vocabulary(
    ("<unknown>",),
    ("<none>", "arc:nsubj", "arc:nsubj~", "subject", "predicate:have~", "arc:made-up"),
    ("riding",),
)
SIZE = torch.tensor([[200, 200]])


def relation(forward, backward=()):
    effect = EdgeEffect(0, 1, tuple(forward), tuple(backward), 0.1)
    return visual_relation(effect, ["man", "horse"], VOCABULARY)


@pytest.mark.parametrize(
    ("man", "horse", "said"),
    [
        ((50, 50, 60, 60), (90, 52, 99, 60), "horse right of man"),
        ((50, 50, 60, 60), (10, 52, 19, 60), "horse left of man"),
        ((50, 50, 60, 60), (52, 10, 60, 19), "horse above man"),
        ((50, 50, 60, 60), (52, 90, 60, 99), "horse below man"),
        ((50, 50, 60, 60), (40, 40, 90, 90), "man inside horse"),
        ((40, 40, 90, 90), (50, 50, 60, 60), "man around horse"),
        ((50, 50, 90, 90), (51, 52, 92, 91), "man overlaps horse"),
    ],
)
def test_places_are_told_as_they_are_in_the_image(man, horse, said):
    boxes = torch.tensor([[man, horse]]).float()
    classes = spatial_classes(boxes, SIZE)[0]  # target, source
    forward, backward = int(classes[0, 1]), int(classes[1, 0])
    assert relation([forward], [backward]) == said
    assert relation([forward, NEIGHBOUR], [backward, NEIGHBOUR]) == f"{said}, look alike"


def test_likeness_alone_names_both():
    assert relation([NEIGHBOUR]) == relation([], [NEIGHBOUR]) == "man and horse look alike"


def test_predicates_of_the_detector_have_subject_and_object_in_order():
    assert relation([FIRST_PREDICATE]) == "man riding horse"
    assert relation([FIRST_PREDICATE + 1]) == "horse riding man"
    assert relation([FIRST_PREDICATE], [FIRST_PREDICATE + 1]) == "man riding horse"


@pytest.mark.parametrize(
    ("types", "said"),
    [
        ((1, 2), "man, rides: nominal subject"),
        ((1, 3), "man, rides: nominal subject, subject"),
        ((4,), "man, rides: have"),
        ((5,), "man, rides: made-up"),
        ((), "man, rides: a type that training did not have"),
    ],
)
def test_words_are_joined_by_the_names_of_arcs_and_parts_of_triples(types, said):
    effect = EdgeEffect(0, 1, types, (), 0.1)
    assert textual_relation(effect, ["man", "rides"], VOCABULARY) == said
