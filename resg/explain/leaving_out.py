"""What an edge did to the score of a pair: the score with all edges less that without this one.

R regions, W words, d width, E edges, K types an edge, V variants of a graph.

Effects of edges do not add up to the score, nor to the effect of leaving several out: attention
shares what a missing edge had among the others.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from resg.graphs.batch import GraphBatch
from resg.graphs.ragged import Layout, offsets
from resg.graphs.visual import Edges
from resg.models.encoded import Encoded
from resg.transfer import to_device

EncodeGraph = Callable[[Tensor, Edges, Layout], Encoded]
"""Nodes before they know their graph, edges and layout, to encoded graphs."""


@dataclass(frozen=True)
class EdgeEffect:
    """What joining two nodes did to the score; both of their edges are left out together.

    Attributes:
        first: a node of the graph.
        second: another.
        forward: types of the edge by which the first attends to the second, 0 left out.
        backward: types of the edge by which the second attends to the first.
        change: score with all edges less the score without these; above 0 where they raise it.
    """

    first: int
    second: int
    forward: tuple[int, ...]
    backward: tuple[int, ...]
    change: float


@dataclass(frozen=True)
class EdgeEffects:
    """Effects of the edges of one graph.

    Attributes:
        effects: of the joined pairs of nodes that were tried, the greatest change first.
        num_pairs: how many joined pairs of nodes there are.
        together: score with all edges less the score without any, but for those of a node to
            itself.
    """

    effects: tuple[EdgeEffect, ...] = ()
    num_pairs: int = 0
    together: float = 0.0


def edge_effects(
    nodes_Md: Tensor,
    edges: Edges,
    encode_graph: EncodeGraph,
    score: Callable[[Encoded], Tensor],
    weight_M: Tensor,
    limit: int,
) -> EdgeEffects:
    """Leave each joined pair of nodes of one graph out in turn, and score what is left.

    An edge of a node to itself is never left out: it is no relation.

    Args:
        nodes_Md: the nodes of one graph before they know it.
        edges: of this graph.
        encode_graph: the graph encoder of the matcher.
        score: encoded graphs to their `[V]` scores with the other side of the pair.
        weight_M: how much each node matters; if there are more pairs than `limit`, those are
            tried whose two nodes matter most together.
        limit: most pairs to try.
    """
    pairs_P2, pair_of_E = joined_pairs(edges.graph)
    matters_P = weight_M.to(pairs_P2.device)[pairs_P2].sum(1)
    tried = matters_P.argsort(descending=True, stable=True)[:limit]
    if not len(tried):
        return EdgeEffects()
    keep_VE = torch.ones((len(tried) + 2, len(pair_of_E)), dtype=torch.bool, device=tried.device)
    keep_VE[1] = pair_of_E < 0
    keep_VE[2:] = pair_of_E != tried[:, None]  # the first variant has all edges
    variants, layout = _variants(edges, keep_VE, len(nodes_Md))
    encoded = encode_graph(nodes_Md.repeat(len(keep_VE), 1), variants, layout)
    scores_V = score(encoded).double()
    together, *changes = (scores_V[0] - scores_V[1:]).tolist()
    effects = [
        EdgeEffect(
            first=first,
            second=second,
            forward=_types(edges, first, second),
            backward=_types(edges, second, first),
            change=change,
        )
        for (first, second), change in zip(pairs_P2[tried].tolist(), changes, strict=True)
    ]
    effects.sort(key=lambda effect: -abs(effect.change))
    return EdgeEffects(tuple(effects), len(pairs_P2), together)


def joined_pairs(graph: GraphBatch) -> tuple[Tensor, Tensor]:
    """The pairs of different nodes of one graph that an edge joins, in one or both directions.

    Returns:
        `[P, 2]` pairs, the lower node first, and `[E]` the pair of each edge, -1 for one from a
        node to itself.
    """
    ends_E2 = torch.stack([graph.targets, graph.indices], 1).sort(1).values
    is_pair_E = ends_E2[:, 0] != ends_E2[:, 1]
    pairs_P2, own = ends_E2[is_pair_E].unique(dim=0, return_inverse=True)
    pair_of_E = ends_E2.new_full((len(ends_E2),), -1)
    pair_of_E[is_pair_E] = own
    return pairs_P2, pair_of_E


def _types(edges: Edges, target: int, source: int) -> tuple[int, ...]:
    start, end = edges.graph.indptr[target : target + 2].tolist()
    for edge in range(start, end):
        if int(edges.graph.indices[edge]) == source:
            return tuple(kind for kind in edges.types[edge].tolist() if kind)
    return ()


def _variants(edges: Edges, keep_VE: Tensor, num_nodes: int) -> tuple[Edges, Layout]:
    """Copies of one graph, each with some of its edges alone, as one batch."""
    variant, edge = keep_VE.nonzero(as_tuple=True)
    first = variant * num_nodes
    layout = to_device(
        Layout.of(offsets(torch.full((len(keep_VE),), num_nodes))), edges.types.device
    )
    graph = GraphBatch.from_sorted_edges(
        layout.ptr,
        first + edges.graph.targets[edge],
        first + edges.graph.indices[edge],
        num_nodes=layout.num_rows,
        max_nodes=num_nodes,
    )
    geometry = None if edges.geometry is None else edges.geometry[edge]
    return Edges(graph, edges.types[edge], geometry), layout
