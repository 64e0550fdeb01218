"""The first stage: exact by NumPy, and nearly so by FAISS."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from resg.index import neighbours
from resg.index.folder import IndexFolder, IndexState
from resg.index.neighbours import (
    ApproximateNeighbours,
    ExactNeighbours,
    build_neighbours,
    lists_for,
    open_neighbours,
)
from resg.index.segments import ImageEntry, write_encoded
from resg.models.encoded import Encoded

WIDTH = 16


def unit_rows(count, seed, clusters=40):
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(1).normal(size=(clusters, WIDTH))
    rows = centres[random.integers(0, clusters, count)] + 0.5 * random.normal(size=(count, WIDTH))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=20), st.integers(1, 25))
def test_exact_neighbours_are_the_largest_products_in_order(values, count):
    embeddings = np.array(values, np.float32)[:, None]
    products, rows = ExactNeighbours(embeddings).nearest(np.ones((1, 1), np.float32), count)
    expected = np.sort(embeddings[:, 0])[::-1][:count]
    assert products[0].tolist() == expected.tolist()
    assert embeddings[rows[0], 0].tolist() == expected.tolist()
    assert len(set(rows[0].tolist())) == len(rows[0])


@pytest.mark.parametrize("count", [1, 3, 7])
def test_fewer_neighbours_are_the_first_of_more(count):
    exact = ExactNeighbours(unit_rows(50, 0))
    queries = unit_rows(4, 1)
    _, few = exact.nearest(queries, count)
    _, more = exact.nearest(queries, 20)
    assert np.array_equal(few, more[:, :count])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An index of 3,000 clustered embeddings, which is large enough for the approximate stage."""
    monkeypatch.setattr(neighbours, "APPROXIMATE_FROM", 3000)
    path = tmp_path / "index"
    path.mkdir()
    state = IndexState({"run": "r", "preset": "p", "weights": "w"}, {}, WIDTH)
    index, place = IndexFolder(path, state).new_path("images")
    rows = torch.from_numpy(unit_rows(3000, 0))
    encoded = Encoded(rows, rows, torch.arange(3001))
    ids = [ImageEntry(str(row), "") for row in range(3000)]
    index = index.with_segments("images", [write_encoded(place, "images", ids, encoded)])
    index.commit()
    return index


def test_a_large_index_gets_an_approximate_stage_that_finds_nearly_all(folder, monkeypatch):
    pytest.importorskip("faiss", reason="needs the extra search")
    monkeypatch.setattr(neighbours, "PROBES", 16)
    built = build_neighbours(folder)
    built.commit()
    again = IndexFolder.read(folder.path)
    found = open_neighbours(again, "images")
    assert isinstance(found, ApproximateNeighbours)
    queries = unit_rows(50, 2)
    _, expected = ExactNeighbours(unit_rows(3000, 0)).nearest(queries, 10)
    _, rows = found.nearest(queries, 10)
    shared = [len({*own} & {*other}) for own, other in zip(rows, expected, strict=True)]
    assert np.mean(shared) >= 9.5
    assert build_neighbours(again) is again  # nothing is built twice
    assert again.with_segments("images", []).state.neighbours is None


def test_a_small_index_or_one_without_faiss_is_searched_exactly(folder, monkeypatch):
    monkeypatch.setattr(neighbours, "import_faiss", lambda: None)
    assert build_neighbours(folder) is folder
    built_elsewhere = replace(folder.state, neighbours={"file": "neighbours-1", "probes": 4})
    found = open_neighbours(IndexFolder(folder.path, built_elsewhere), "images")
    assert isinstance(found, ExactNeighbours)
    monkeypatch.setattr(neighbours, "APPROXIMATE_FROM", 3001)
    assert build_neighbours(folder) is folder


def test_lists_are_about_the_square_root():
    assert [lists_for(n) for n in (100_000, 1_000_000, 4_000_000)] == [256, 1024, 2048]
