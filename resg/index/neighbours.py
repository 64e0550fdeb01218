"""Nearest embeddings: exactly with NumPy, or approximately with FAISS in a large index.

N embeddings, Q queries, d width.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from resg.errors import ResgError
from resg.index.folder import IndexFolder
from resg.index.segments import Kind, Segment

APPROXIMATE_FROM = 100_000
"""Images from which an index gets an approximate first stage, where FAISS is installed."""

PROBES = 64
"""Lists that are compared with a query: measured, see `benchmarks/search.py`."""

TRAINING_ROUNDS = 10
TRAINING_ITEMS = 40  # for each list: FAISS warns below 39
ADDED_TOGETHER = 100_000

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


class Neighbours(Protocol):
    """The first stage of a search."""

    def nearest(self, queries: Floats, count: int) -> tuple[Floats, Ints]:
        """The embeddings with the largest dot products.

        Args:
            queries: `[Q, d]` unit length.
            count: how many of each query.

        Returns:
            `[Q, count]` products and rows, best first; a row of -1 where there are fewer.
        """
        ...


class ExactNeighbours:
    """All embeddings in memory, compared one by one.

    Args:
        embeddings: `[N, d]` float32 of unit length.
    """

    def __init__(self, embeddings: Floats) -> None:
        self.embeddings = embeddings

    def nearest(self, queries: Floats, count: int) -> tuple[Floats, Ints]:
        """See `Neighbours`; equal products in the order of rows."""
        products = queries @ self.embeddings.T
        count = min(count, products.shape[1])
        best = np.argpartition(-products, count - 1, axis=1)[:, :count] if count else products
        best = np.sort(best.astype(np.int64), axis=1)
        found = np.take_along_axis(products, best, axis=1)
        order = np.argsort(-found, axis=1, kind="stable")
        return np.take_along_axis(found, order, axis=1), np.take_along_axis(best, order, axis=1)


def load_embeddings(segments: Sequence[Segment], width: int) -> Floats:
    """`[N, d]` embeddings of segments in single precision."""
    embeddings = np.empty((sum(segment.count for segment in segments), width), np.float32)
    start = 0
    for segment in segments:
        embeddings[start : start + segment.count] = segment.array("embeddings")
        start += segment.count
    return embeddings


class ApproximateNeighbours:
    """FAISS's inverted lists: only the lists nearest to a query are compared.

    Args:
        path: file that `build_neighbours` wrote.
        probes: lists that are compared.
    """

    def __init__(self, path: Path, probes: int) -> None:
        faiss = import_faiss()
        assert faiss is not None, "open_neighbours asks first"
        try:
            self.lists = faiss.read_index(str(path))
        except RuntimeError as error:
            raise ResgError(
                f"{path} is missing or damaged. Make it again: resg index, as before."
            ) from error
        self.lists.nprobe = probes

    def nearest(self, queries: Floats, count: int) -> tuple[Floats, Ints]:
        """See `Neighbours`."""
        return self.lists.search(np.ascontiguousarray(queries, np.float32), count)


def import_faiss() -> Any | None:
    """The package faiss, or None where the extra `search` is not installed."""
    try:
        import faiss
    except ImportError:
        return None
    return faiss


def build_neighbours(folder: IndexFolder) -> IndexFolder:
    """The index with an approximate first stage, where its images are many and FAISS is there."""
    segments = folder.segments("images")
    number = sum(segment.count for segment in segments)
    if folder.state.neighbours is not None or number < APPROXIMATE_FROM:
        return folder
    faiss = import_faiss()
    if faiss is None:
        return folder
    embeddings = load_embeddings(segments, folder.state.width)
    num_lists = lists_for(number)
    lists = faiss.index_factory(
        folder.state.width, f"IVF{num_lists},SQfp16", faiss.METRIC_INNER_PRODUCT
    )
    lists.cp.niter = TRAINING_ROUNDS
    chosen = np.random.default_rng(0).permutation(number)[: num_lists * TRAINING_ITEMS]
    lists.train(embeddings[np.sort(chosen)])
    for start in range(0, number, ADDED_TOGETHER):
        lists.add(embeddings[start : start + ADDED_TOGETHER])
    folder, path = folder.new_path("neighbours")
    faiss.write_index(lists, str(path))
    neighbours = {"file": path.name, "lists": num_lists, "probes": min(PROBES, num_lists)}
    return IndexFolder(folder.path, replace(folder.state, neighbours=neighbours))


def lists_for(number: int) -> int:
    """How many inverted lists so many embeddings get: a power of two near their square root."""
    return 2 ** round(np.log2(np.sqrt(number)))


def open_neighbours(folder: IndexFolder, kind: Kind) -> Neighbours:
    """The first stage of a search among the images or captions of an index."""
    neighbours = folder.state.neighbours
    if kind == "images" and neighbours is not None and import_faiss() is not None:
        return ApproximateNeighbours(folder.path / neighbours["file"], neighbours["probes"])
    return ExactNeighbours(load_embeddings(folder.segments(kind), folder.state.width))
