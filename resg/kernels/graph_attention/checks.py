"""The inputs of a call of `graph_attention`, and whether they fit together."""

from dataclasses import dataclass

import torch
from torch import Tensor

from resg.graphs.batch import GraphBatch


@dataclass(frozen=True)
class AttentionInputs:
    """What a backend computes with; M nodes, E edges, H heads, d head width.

    Attributes:
        q: `[M, H, d]` queries.
        k: `[M, H, d]` keys.
        v: `[M, H, d]` values.
        edge_bias: `[E, H]` added to the scores.
        graph: nodes and edges.
        scale: factor of the scores.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    edge_bias: Tensor
    graph: GraphBatch
    scale: float

    @property
    def wide_dtype(self) -> torch.dtype:
        """Type of scores and sums: float32 for half inputs, else the inputs' own."""
        return torch.promote_types(self.q.dtype, torch.float32)


def check_inputs(q: Tensor, k: Tensor, v: Tensor, graph: GraphBatch, edge_bias: Tensor) -> None:
    """Compare shapes, types and devices; no value is read, so the host need not wait for a GPU.

    Raises:
        ValueError: something does not fit, with both shapes and what to do.
    """
    named = {"q": q, "k": k, "v": v, "edge_bias": edge_bias}
    if q.dim() != 3 or q.shape != k.shape or q.shape != v.shape:
        shapes = ", ".join(f"{name} {tuple(named[name].shape)}" for name in "qkv")
        raise ValueError(f"q, k and v must have one shape [nodes, heads, width]; got {shapes}.")
    if q.shape[0] != graph.num_nodes:
        raise ValueError(
            f"q has the shape {tuple(q.shape)}, but the graph has {graph.num_nodes} nodes. "
            "Pass the graph that was built for these nodes."
        )
    if edge_bias.shape != (graph.num_edges, q.shape[1]):
        raise ValueError(
            f"edge_bias has the shape {tuple(edge_bias.shape)}, expected "
            f"{(graph.num_edges, q.shape[1])}, [edges, heads]. Give one row for each edge of the "
            "graph, sorted by (target, source): see resg.graphs.batch."
        )
    for name, tensor in named.items():
        if not tensor.is_floating_point():
            raise ValueError(f"{name} is {tensor.dtype}; attention needs floats. Use .float().")
    if not q.dtype == k.dtype == v.dtype:
        raise ValueError(f"q, k and v must have one dtype; got {q.dtype}, {k.dtype}, {v.dtype}.")
    devices = {name: tensor.device for name, tensor in named.items()} | {"graph": graph.device}
    if len(set(devices.values())) > 1:
        listed = ", ".join(f"{name} on {device}" for name, device in devices.items())
        raise ValueError(f"all inputs must be on one device; got {listed}. Use .to(device).")
