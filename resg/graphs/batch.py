"""GraphBatch: a batch of small graphs in flat arrays, as the kernels read them.

B graphs, M nodes, E edges of the whole batch.  Nodes are numbered through the batch, graph after
graph.  An edge (source, target) lets the target attend to the source.

**Edge order.** Edges are sorted by (target, source), as `np.lexsort(edges.T)` sorts `[E, 2]` pairs;
everything that belongs to an edge (its types, its geometry, its bias) lies in this order.
"""

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from resg.graphs.ragged import group_of_row, offsets

Ints = NDArray[np.int64]

MASK_NODES = 64
"""Graphs of at most this many nodes have one 64-bit mask of neighbours per node."""


@dataclass(frozen=True, eq=False)
class GraphBatch:
    """B graphs of different sizes, as the kernels read them. Make one with a `from_` method.

    Attributes:
        node_ptr: `[B + 1]` int64, graph b owns the nodes `node_ptr[b]` up to `node_ptr[b + 1]`.
        indptr: `[M + 1]` int64, the edges into node m are `indptr[m]` up to `indptr[m + 1]`.
        indices: `[E]` int64, source node of each edge, ascending within a target.
        reverse_indptr: `[M + 1]` int64, the same from the sources' side: edges out of node m.
        reverse_indices: `[E]` int64, target node of each of those, ascending within a source.
        reverse_edges: `[E]` int64, the place in the edge order of each of those.
        masks: `[M]` int64; bit j of a node's mask is set if the j-th node of its graph is its
            neighbour. None where a graph has more than 64 nodes.
        max_nodes: nodes of the largest graph, known on the host.
    """

    node_ptr: Tensor
    indptr: Tensor
    indices: Tensor
    reverse_indptr: Tensor
    reverse_indices: Tensor
    reverse_edges: Tensor
    masks: Tensor | None
    max_nodes: int

    @classmethod
    def from_edges(cls, num_nodes: ArrayLike, edges: ArrayLike) -> "GraphBatch":
        """Build a batch from edges in any order.

        Args:
            num_nodes: nodes of each graph.
            edges: `[E, 2]` (source, target) pairs, numbered through the batch; a host tensor, an
                array or a list of pairs.

        Returns:
            The batch, on the CPU, edges sorted by (target, source).

        Raises:
            ValueError: an edge points outside its graph, or comes twice.

        Example:
            >>> graph = GraphBatch.from_edges(num_nodes=[3], edges=[(1, 0), (0, 1)])
            >>> graph.indptr.tolist(), graph.indices.tolist()
            ([0, 1, 2, 2], [1, 0])
        """
        counts, pairs = _integers(num_nodes), _integers(edges).reshape(-1, 2)
        if (counts < 0).any():
            raise ValueError(f"num_nodes must not be negative, it is {counts.tolist()}.")
        node_ptr = _offsets(counts)
        _refuse_outside(pairs, int(node_ptr[-1]))
        sources, targets = pairs[np.lexsort(pairs.T)].T
        indptr = _offsets(np.bincount(targets, minlength=int(node_ptr[-1])))
        return cls.from_csr(node_ptr, indptr, np.ascontiguousarray(sources))

    @classmethod
    def from_csr(cls, node_ptr: ArrayLike, indptr: ArrayLike, indices: ArrayLike) -> "GraphBatch":
        """Check a CSR of incoming edges and derive the transpose and the masks.

        Args:
            node_ptr: `[B + 1]`, see the class; an array or host tensor.
            indptr: `[M + 1]`, see the class.
            indices: `[E]`, sources, strictly ascending within each target.

        Raises:
            ValueError: the arrays do not fit each other, an edge leaves its graph, a row is not
                sorted, or an edge comes twice.
        """
        node_ptr, indptr, indices = _integers(node_ptr), _integers(indptr), _integers(indices)
        counts = _checked_differences(node_ptr, "node_ptr", None)
        degrees = _checked_differences(indptr, "indptr", int(node_ptr[-1]))
        if indices.shape != (int(indptr[-1]),):
            raise ValueError(
                f"indptr ends at {indptr[-1]}, but indices has the shape {indices.shape}; "
                f"expected ({indptr[-1]},). Build both from one edge list."
            )
        targets = np.repeat(np.arange(degrees.size), degrees)
        _refuse_outside(np.stack([indices, targets], 1), degrees.size)
        _check_rows(indices, targets, np.repeat(np.arange(counts.size), counts))
        return cls.from_sorted_edges(
            torch.from_numpy(node_ptr),
            torch.from_numpy(targets),
            torch.from_numpy(indices),
            num_nodes=degrees.size,
            max_nodes=int(counts.max(initial=0)),
        )

    @classmethod
    def from_sorted_edges(
        cls, node_ptr: Tensor, targets: Tensor, sources: Tensor, *, num_nodes: int, max_nodes: int
    ) -> "GraphBatch":
        """Build a batch from edges already in order, on any device; nothing is checked.

        Args:
            node_ptr: `[B + 1]` int64, see the class.
            targets: `[E]` int64, numbered through the batch, ascending.
            sources: `[E]` int64, ascending within a target, in the target's graph.
            num_nodes: M; given, like `max_nodes`, so that the host need not wait for a GPU.
            max_nodes: nodes of the largest graph.
        """
        order = sources.argsort(stable=True)
        masks = None
        if max_nodes <= MASK_NODES:
            first_node = node_ptr[group_of_row(node_ptr, num_nodes)]
            bits = torch.ones_like(sources) << (sources - first_node[targets])
            # no edge comes twice, so the bits add up to the mask; whole numbers repeat exactly
            masks = node_ptr.new_zeros(num_nodes).index_add_(0, targets, bits)
        nodes = torch.arange(num_nodes + 1, device=node_ptr.device)
        reverse_sources = sources[order]
        return cls(
            node_ptr=node_ptr,
            indptr=torch.searchsorted(targets, nodes),
            indices=sources,
            reverse_indptr=torch.searchsorted(reverse_sources, nodes),
            reverse_indices=targets[order],
            reverse_edges=order,
            masks=masks,
            max_nodes=max_nodes,
        )

    @classmethod
    def complete(cls, num_graphs: int, num_nodes: int, device: torch.device) -> "GraphBatch":
        """Graphs of equally many nodes, in each of which every node attends to all, itself too.

        Its edges in order are all pairs: graph, target, source.
        """
        total = num_graphs * num_nodes
        places = torch.arange(total * num_nodes, device=device).view(num_graphs, num_nodes, -1)
        nodes = torch.arange(total, device=device).view(num_graphs, 1, num_nodes)
        indptr = torch.arange(total + 1, device=device) * num_nodes
        neighbours = nodes.expand(-1, num_nodes, -1).flatten()
        masks = None
        if num_nodes <= MASK_NODES:
            unset = -1 << num_nodes if num_nodes < MASK_NODES else 0
            masks = torch.full((total,), ~unset, device=device)
        return cls(
            node_ptr=torch.arange(num_graphs + 1, device=device) * num_nodes,
            indptr=indptr,
            indices=neighbours,
            reverse_indptr=indptr,
            reverse_indices=neighbours,
            reverse_edges=places.transpose(1, 2).flatten(),
            masks=masks,
            max_nodes=num_nodes,
        )

    @property
    def num_graphs(self) -> int:
        """B."""
        return self.node_ptr.shape[0] - 1

    @property
    def num_nodes(self) -> int:
        """M."""
        return self.indptr.shape[0] - 1

    @property
    def num_edges(self) -> int:
        """E."""
        return self.indices.shape[0]

    @property
    def device(self) -> torch.device:
        """Where all arrays lie."""
        return self.indptr.device

    @property
    def targets(self) -> Tensor:
        """`[E]` target node of each edge, in the edge order."""
        return group_of_row(self.indptr, self.num_edges)

    @property
    def owners(self) -> Tensor:
        """`[M]` graph of each node."""
        return group_of_row(self.node_ptr, self.num_nodes)

    def to(self, device: torch.device | str) -> "GraphBatch":
        """The same batch on another device."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(
            self, **{name: x.to(device) for name, x in values.items() if isinstance(x, Tensor)}
        )


def _integers(values: ArrayLike) -> Ints:
    array = np.asarray(values)
    if array.size and array.dtype.kind not in "iu":
        raise ValueError(f"nodes and edges are integers, got {array.dtype}.")
    return np.ascontiguousarray(array, dtype=np.int64)


def _offsets(counts: Ints) -> Ints:
    return offsets(torch.from_numpy(counts)).numpy()


def _checked_differences(pointers: Ints, name: str, rows: int | None) -> Ints:
    if pointers.ndim != 1 or pointers.size == 0 or rows not in (None, pointers.size - 1):
        expected = "(graphs + 1,)" if rows is None else f"({rows + 1},), nodes + 1"
        raise ValueError(f"{name} has the shape {pointers.shape}, expected {expected}.")
    counts = np.diff(pointers)
    if pointers[0] != 0 or (counts < 0).any():
        raise ValueError(f"{name} must start at 0 and never fall; it is a running sum of counts.")
    return counts


def _refuse_outside(pairs: Ints, num_nodes: int) -> None:
    outside = ((pairs < 0) | (pairs >= num_nodes)).any(1)
    if outside.any():
        edge = tuple(pairs[outside][0].tolist())
        raise ValueError(
            f"edge {edge} points outside the batch, which has {num_nodes} nodes. Edges are "
            "(source, target), numbered through the batch: add each graph's first node."
        )


def _check_rows(indices: Ints, targets: Ints, owners: Ints) -> None:
    """Edges stay within their graph; sources ascend strictly within a target."""
    step, same_row = np.diff(indices, prepend=-1), np.diff(targets, prepend=-1) == 0
    for wrong, what in (
        (owners[indices] != owners[targets], "joins two graphs. Edges stay within their graph."),
        (same_row & (step == 0), "comes twice. Keep one edge and add up what the two carry."),
        (same_row & (step < 0), "is out of order. Sort by (target, source)."),
    ):
        if wrong.any():
            place = int(wrong.argmax())
            raise ValueError(f"edge {(int(indices[place]), int(targets[place]))} {what}")
