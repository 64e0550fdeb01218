"""Decode scores into a graph: which tokens are nodes, which nodes are related, by which words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Ints = NDArray[np.integer[Any]]

OUTSIDE, OBJECT, IN_OBJECT, ATTRIBUTE, IN_ATTRIBUTE = range(5)
"""Tags of a token: in no node; begins or continues an object; begins or continues an attribute."""

NUM_TAGS = 5
MAX_REACH, MAX_ATTRIBUTE_REACH = 8, 4
"""Objects, and an object and its attribute, that are further apart in a caption's nodes are never
joined. One in 2,000 of FACTUAL's is; and a long text costs no more than its length."""

JOINED = 0.5
RESCUED = 0.1
"""Least probability of a pair that is joined; of one that is an object's only pair."""

_CONTINUES = np.zeros((NUM_TAGS, NUM_TAGS), bool)
_CONTINUES[[OBJECT, IN_OBJECT], IN_OBJECT] = True
_CONTINUES[[ATTRIBUTE, IN_ATTRIBUTE], IN_ATTRIBUTE] = True


class Node(NamedTuple):
    """Tokens `start` up to `end` that are an object or an attribute."""

    start: int
    end: int
    is_attribute: bool


class Relation(NamedTuple):
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


def nodes_of_tags(tags_T: Ints, firsts_B: Ints) -> tuple[Ints, Ints, NDArray[np.bool_]]:
    """Spans of the tags of captions; a tag that continues nothing begins a node.

    Args:
        tags_T: tags of all tokens, caption after caption.
        firsts_B: where each caption begins; none is empty.

    Returns:
        `[M]` each node's first token, the one behind its last, and whether it is an attribute.
    """
    before = np.concatenate([[OUTSIDE], tags_T[:-1]])
    before[firsts_B] = OUTSIDE
    continues = _CONTINUES[before, tags_T]
    is_inside = tags_T != OUTSIDE
    starts = np.flatnonzero(is_inside & ~continues)
    ends = np.flatnonzero(is_inside & ~np.append(continues[1:], False)) + 1
    return starts, ends, tags_T[starts] >= ATTRIBUTE


def tags_of_nodes(nodes: Sequence[Node], length: int) -> list[int]:
    """The tags of a caption of `length` tokens; `nodes_of_tags` turns them back."""
    tags = [OUTSIDE] * length
    for node in nodes:
        begin, inside = (ATTRIBUTE, IN_ATTRIBUTE) if node.is_attribute else (OBJECT, IN_OBJECT)
        tags[node.start : node.end] = [begin] + [inside] * (node.end - node.start - 1)
    return tags


def candidate_pairs(captions_M: Ints, is_attribute_M: NDArray[np.bool_]) -> Ints:
    """Ordered pairs of nodes that may be joined: each object with every node near it, `[P, 2]`.

    An object is paired with itself too: `two cars next to each other`.

    Args:
        captions_M: which caption each node is of, ascending.
        is_attribute_M: whether it is an attribute.
    """
    subjects = np.flatnonzero(~is_attribute_M)[:, None]
    objects = subjects + np.arange(-MAX_REACH, MAX_REACH + 1)
    inside = objects.clip(0, len(captions_M) - 1)
    may = (inside == objects) & (captions_M[inside] == captions_M[subjects])
    far = np.abs(objects - subjects) > MAX_ATTRIBUTE_REACH
    may &= ~(is_attribute_M[inside] & far)
    return np.stack([np.broadcast_to(subjects, may.shape)[may], objects[may]], 1)


def chosen_pairs(
    pairs: Sequence[Sequence[int]], probabilities: Sequence[float], is_attribute: Sequence[bool]
) -> list[int]:
    """Which of a caption's candidate pairs are joined.

    Those more likely than not; and, for a node that these leave alone, its likeliest pair: an
    attribute has an object, and gold's objects stand alone only where there is nothing else.

    Args:
        pairs: nodes of each pair.
        probabilities: of each pair.
        is_attribute: of each node.

    Returns:
        indices in `pairs`, ascending.
    """
    chosen = {k for k, p in enumerate(probabilities) if p > JOINED}
    reached = {node for k in chosen for node in pairs[k]}
    best: dict[int, int] = {}
    for k, pair in enumerate(pairs):
        for node in pair:
            if node not in best or probabilities[k] > probabilities[best[node]]:
                best[node] = k
    for node, node_is_attribute in enumerate(is_attribute):
        if node not in reached and node in best:
            least = 0.0 if node_is_attribute else RESCUED
            if probabilities[best[node]] > least:
                chosen.add(best[node])
                reached |= set(pairs[best[node]])
    return sorted(chosen)
