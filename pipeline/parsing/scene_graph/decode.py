"""Scores into a graph: which tokens are nodes, which nodes are related, and by what words."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

OUTSIDE, OBJECT, IN_OBJECT, ATTRIBUTE, IN_ATTRIBUTE = range(5)
"""Tags of a token: in no node; begins or continues an object; begins or continues an attribute."""

NUM_TAGS = 5
MAX_REACH, MAX_ATTRIBUTE_REACH = 8, 4
"""Objects, and an object and its attribute, that are further apart in a caption's nodes are never
joined. One in 2,000 of FACTUAL's is; and a long text costs no more than its length."""

JOINED = 0.5
RESCUED = 0.1
"""Least probability of a pair that is joined; of one that is an object's only pair."""

_CONTINUES = {IN_OBJECT: (OBJECT, IN_OBJECT), IN_ATTRIBUTE: (ATTRIBUTE, IN_ATTRIBUTE)}


@dataclass(frozen=True)
class Node:
    """Tokens `start` up to `end` that are an object or an attribute."""

    start: int
    end: int
    is_attribute: bool


@dataclass(frozen=True)
class Relation:
    """Two objects and the words that relate them.

    Attributes:
        subject: index of a node.
        object: index of a node; the subject itself where the relation holds among its things.
        head: first word of the predicate, `sit`.
        tail: its other words, `on top of`; may be empty.
        token: the token that says the head, -1 where none does.
    """

    subject: int
    object: int
    head: str
    tail: str
    token: int


@dataclass(frozen=True)
class Graph:
    """What a caption says.

    Attributes:
        nodes: in the caption's order; those that nothing joins included.
        relations: between objects.
        attributes: object and attribute, indices of nodes.
    """

    nodes: tuple[Node, ...] = ()
    relations: tuple[Relation, ...] = ()
    attributes: tuple[tuple[int, int], ...] = ()


def nodes_of_tags(tags: Sequence[int]) -> list[Node]:
    """Spans of a caption's tags; a tag that continues nothing begins a node."""
    nodes: list[Node] = []
    previous = OUTSIDE
    for i, tag in enumerate(tags):
        if tag in _CONTINUES and previous in _CONTINUES[tag]:
            last = nodes[-1]
            nodes[-1] = Node(last.start, i + 1, last.is_attribute)
        elif tag != OUTSIDE:
            nodes.append(Node(i, i + 1, tag in (ATTRIBUTE, IN_ATTRIBUTE)))
        previous = tag
    return nodes


def tags_of_nodes(nodes: Sequence[Node], length: int) -> list[int]:
    """The tags of a caption of `length` tokens; `nodes_of_tags` turns them back."""
    tags = [OUTSIDE] * length
    for node in nodes:
        begin, inside = (ATTRIBUTE, IN_ATTRIBUTE) if node.is_attribute else (OBJECT, IN_OBJECT)
        tags[node.start : node.end] = [begin] + [inside] * (node.end - node.start - 1)
    return tags


def candidate_pairs(nodes: Sequence[Node]) -> list[tuple[int, int]]:
    """Ordered pairs of nodes that may be joined: each object with every node near it.

    An object is paired with itself too: `two cars next to each other`.
    """
    pairs = []
    for i, subject in enumerate(nodes):
        if subject.is_attribute:
            continue
        for j in range(max(0, i - MAX_REACH), min(len(nodes), i + MAX_REACH + 1)):
            if not nodes[j].is_attribute or abs(i - j) <= MAX_ATTRIBUTE_REACH:
                pairs.append((i, j))
    return pairs


def chosen_pairs(
    nodes: Sequence[Node], pairs: Sequence[tuple[int, int]], probabilities: Sequence[float]
) -> list[int]:
    """Which of a caption's candidate pairs are joined.

    Those more likely than not; and, for a node that these leave alone, its likeliest pair: an
    attribute has an object, and gold's objects stand alone only where there is nothing else.

    Returns:
        indices in `pairs`, ascending.
    """
    chosen = {k for k, p in enumerate(probabilities) if p > JOINED}
    reached = {node for k in chosen for node in pairs[k]}
    if len(reached) == len(nodes):
        return sorted(chosen)
    best: dict[int, int] = {}
    for k, pair in enumerate(pairs):
        for node in pair:
            if node not in best or probabilities[k] > probabilities[best[node]]:
                best[node] = k
    for i, node in enumerate(nodes):
        if i not in reached and i in best:
            least = 0.0 if node.is_attribute else RESCUED
            if probabilities[best[i]] > least:
                chosen.add(best[i])
                reached |= set(pairs[best[i]])
    return sorted(chosen)
