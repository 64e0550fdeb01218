"""What an edge did is the score with it less the score of a graph that never had it."""

import pytest
import torch

from resg.explain.leaving_out import edge_effects, joined_pairs
from resg.graphs.batch import GraphBatch
from resg.graphs.ragged import Layout, offsets
from resg.graphs.visual import Edges

PAIRS = [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (3, 1), (2, 2), (3, 3)]  # source, target, sorted
TYPES = [[9, 0], [1, 2], [3, 0], [4, 0], [9, 0], [5, 0], [9, 0], [9, 0]]
JOINED = ((0, 1), (0, 2), (1, 3))
LAYOUT = Layout.of(offsets(torch.tensor([4])))


def edges(*left_out):
    kept = [k for k, ends in enumerate(PAIRS) if set(ends) not in left_out]
    graph = GraphBatch.from_edges([4], [PAIRS[k] for k in kept])
    return Edges(graph, torch.tensor(TYPES)[kept])


@pytest.fixture
def encoder(make_matcher):
    return make_matcher("resg-gru")[0]


def effects(encoder, weights=(1.0, 1.0, 1.0, 1.0), limit=64):
    nodes = torch.randn(4, 16, generator=torch.Generator().manual_seed(0))
    query = torch.randn(16, generator=torch.Generator().manual_seed(1))

    def score(encoded):
        return encoded.embeddings @ query + encoded.nodes.unflatten(0, (-1, 4))[:, 1] @ query

    with torch.inference_mode():
        found = edge_effects(
            nodes,
            edges(),
            encoder.encode_visual_graph,
            score,
            torch.tensor(weights),
            limit,
        )
        whole = score(encoder.encode_visual_graph(nodes, edges(), LAYOUT))
        alone = {
            pair: score(encoder.encode_visual_graph(nodes, edges(set(pair)), LAYOUT))
            for pair in JOINED
        }
        alone["all"] = score(encoder.encode_visual_graph(nodes, edges(*map(set, JOINED)), LAYOUT))
    return found, {pair: (whole - without).item() for pair, without in alone.items()}


def test_joined_pairs_count_both_directions_once_and_no_node_with_itself():
    pairs, of_edge = joined_pairs(edges().graph)
    assert pairs.tolist() == [[0, 1], [0, 2], [1, 3]]
    assert of_edge.tolist() == [-1, 0, 1, 0, -1, 2, -1, -1]


def test_effects_are_those_of_graphs_built_without_the_edges(encoder):
    found, expected = effects(encoder)
    assert found.together == pytest.approx(expected.pop("all"), abs=1e-5)
    got = {(effect.first, effect.second): effect.change for effect in found.effects}
    assert got == pytest.approx(expected, abs=1e-5)
    assert min(abs(change) for change in expected.values()) > 1e-4  # each edge does something
    assert [abs(e.change) for e in found.effects] == sorted(map(abs, got.values()), reverse=True)
    assert found.num_pairs == 3


def test_the_types_of_an_effect_are_those_of_its_two_edges(encoder):
    found, _ = effects(encoder)
    types = {(e.first, e.second): (e.forward, e.backward) for e in found.effects}
    assert types == {(0, 1): ((1, 2), (4,)), (0, 2): ((3,), ()), (1, 3): ((5,), ())}


def test_effects_do_not_add_up_to_what_all_edges_did(encoder):
    found, _ = effects(encoder)
    assert found.together != pytest.approx(sum(e.change for e in found.effects), abs=1e-3)


def test_a_limit_keeps_the_pairs_that_matter_most(encoder):
    found, _ = effects(encoder, weights=(0.1, 0.2, 0.0, 0.9), limit=2)
    assert {(e.first, e.second) for e in found.effects} == {(0, 1), (1, 3)}
    assert found.num_pairs == 3


def test_a_graph_without_edges_has_no_effects(encoder):
    graph = GraphBatch.from_edges([2], [])
    nothing = Edges(graph, torch.zeros((0, 2), dtype=torch.long))
    found = edge_effects(
        torch.zeros(2, 16), nothing, encoder.encode_visual_graph, None, torch.ones(2), 9
    )
    assert found.effects == ()
