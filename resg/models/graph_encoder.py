"""Nodes that know their context: layers of graph attention, then the contextual order.

M nodes of all graphs, d width, H heads, E edges, K types an edge, T types in all.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resg.config import GraphEncoderSettings
from resg.graphs.ragged import Layout
from resg.graphs.visual import Edges
from resg.kernels.graph_attention import graph_attention
from resg.models.recurrent import run_gru


class GraphEncoder(nn.Module):
    """Layers of graph attention, then the contextual order.

    Args:
        width: d.
        num_edge_types: T, the padding type 0 included.
        self_type: the type of a node's edge to itself, which is never dropped.
        geometry_width: numbers of an edge's geometry, 0 for none.
        settings: layers, heads, dropout, content, contextual order.
    """

    def __init__(
        self,
        width: int,
        num_edge_types: int,
        self_type: int,
        geometry_width: int,
        settings: GraphEncoderSettings,
    ) -> None:
        super().__init__()
        self.num_edge_types, self.self_type = num_edge_types, self_type
        self.edge_dropout, self.type_values = settings.edge_dropout, settings.type_values
        self.layers = nn.ModuleList(
            GraphLayer(width, num_edge_types, geometry_width, settings)
            for _ in range(settings.layers)
        )
        self.order = (
            ContextualOrder(width, is_gated=settings.residual == "gated")
            if settings.contextual_order
            else None
        )

    def forward(self, nodes_Md: Tensor, edges: Edges | None, layout: Layout) -> Tensor:
        """`[M, d]` nodes, their edges (None only where there are no layers) and layout."""
        if self.layers:
            assert edges is not None, "layers of attention have edges to attend along"
            counts_ET = type_counts(edges.types, self.num_edge_types)
            is_open_E = self._open_edges(edges, counts_ET)
            types_MT = mean_types(edges, counts_ET, is_open_E) if self.type_values else None
            for layer in self.layers:
                nodes_Md = layer(nodes_Md, edges, counts_ET, is_open_E, types_MT)
        return nodes_Md if self.order is None else self.order(nodes_Md, layout)

    def _open_edges(self, edges: Edges, counts_ET: Tensor) -> Tensor | None:
        """`[E]` bool, edges that are attended along; None for all.

        In training a share of the edges is dropped; not those of a node to itself, so that some
        are left, and not those without a type, which are padding.
        """
        if not (self.training and self.edge_dropout):
            return edges.is_edge
        is_dropped_E = torch.rand(len(counts_ET), device=counts_ET.device) < self.edge_dropout
        is_fixed_E = (counts_ET[:, self.self_type] > 0) | (counts_ET.sum(1) == 0)
        is_open_E = is_fixed_E | ~is_dropped_E
        return is_open_E if edges.is_edge is None else is_open_E & edges.is_edge


class GraphLayer(nn.Module):
    """A layer of graph attention, with a bias per edge and head from types and geometry.

    The biases of an edge's types add up (*reconstruction*); with `content`, the product of query
    and key is added to them. The residual is one of two:

    - `gated`: `x + g W_o (attention(LN(x)) + types(x))`, where `types(x)` is the mean over the
      node's edges of an embedding of their types, and g, a number a channel, starts at 0. What the
      graph adds is learned from there, and the node itself is never rescaled.
    - `normed`: `LN(x + W_o attention(x))`, where W_o starts at 0.

    A node without edges keeps its `x`, and at first every node does (but for `normed`'s LN): a node
    is itself before it is its neighbourhood.
    """

    def __init__(
        self, width: int, num_edge_types: int, geometry_width: int, settings: GraphEncoderSettings
    ) -> None:
        super().__init__()
        self.heads = settings.heads
        self.query_key = nn.Linear(width, 2 * width) if settings.content else None
        self.value = nn.Linear(width, width)
        self.type_bias = nn.Embedding(num_edge_types, settings.heads, padding_idx=0)
        nn.init.normal_(self.type_bias.weight, std=2.0)  # heads start out preferring other types
        with torch.no_grad():
            self.type_bias.weight[0] = 0
        self.geometry_bias = (
            nn.Linear(geometry_width, settings.heads, bias=False) if geometry_width else None
        )
        self.out = nn.Linear(width, width, bias=False)  # no bias: no edges, no change
        self.dropout = nn.Dropout(settings.dropout)
        self.norm = nn.LayerNorm(width)
        self.gate: nn.Parameter | None = None
        self.type_value: nn.Linear | None = None
        if settings.residual == "gated":
            self.gate = nn.Parameter(torch.zeros(width))
        else:
            nn.init.zeros_(self.out.weight)
        if settings.type_values:
            self.type_value = nn.Linear(num_edge_types, width, bias=False)

    def forward(
        self,
        nodes_Md: Tensor,
        edges: Edges,
        counts_ET: Tensor,
        is_open_E: Tensor | None,
        types_MT: Tensor | None,
    ) -> Tensor:
        """`[M, d]` to `[M, d]`.

        Args:
            nodes_Md: the nodes.
            edges: between them.
            counts_ET: of `type_counts`.
            is_open_E: bool, edges that are attended along; None for all.
            types_MT: of `mean_types`, or None without type values.
        """
        inner_Md = nodes_Md if self.gate is None else self.norm(nodes_Md)
        v_MHd = self.value(inner_Md).unflatten(-1, (self.heads, -1))
        q_MHd = k_MHd = torch.zeros_like(v_MHd)
        if self.query_key is not None:
            q_MHd, k_MHd = self.query_key(inner_Md).unflatten(-1, (2, self.heads, -1)).unbind(1)
        with torch.autocast(nodes_Md.device.type, enabled=False):  # float32 inside, as it promises
            bias_EH = counts_ET @ self.type_bias.weight
            if self.geometry_bias is not None and edges.geometry is not None:
                bias_EH = bias_EH + self.geometry_bias(edges.geometry)
            if is_open_E is not None:
                bias_EH = bias_EH.masked_fill(~is_open_E[:, None], -math.inf)
            attended_MHd = graph_attention(q_MHd, k_MHd, v_MHd, edges.graph, bias_EH)
        message_Md = attended_MHd.flatten(1)
        if self.type_value is not None and types_MT is not None:
            message_Md = message_Md + self.type_value(types_MT)
        message_Md = self.dropout(self.out(message_Md))
        if self.gate is None:
            return self.norm(nodes_Md + message_Md)
        return nodes_Md + self.gate * message_Md


def type_counts(types_EK: Tensor, num_types: int) -> Tensor:
    """`[E, T]` float32, how often each edge has each type; the padding type 0 does not count.

    By this matrix a sum of embeddings is a product, and so is its gradient, for which
    `nn.Embedding` sorts all edges by their types.
    """
    counts_ET = torch.zeros((len(types_EK), num_types), device=types_EK.device)
    return counts_ET.scatter_add_(1, types_EK, (types_EK > 0).float())


def mean_types(edges: Edges, counts_ET: Tensor, is_open_E: Tensor | None = None) -> Tensor:
    """`[M, T]` how often an edge into each node has each type, in the mean; 0 without edges.

    Edges are sorted by target, so a node's are a difference of running sums: of whole numbers,
    which float32 adds up exactly.
    """
    if is_open_E is not None:
        counts_ET = counts_ET * is_open_E[:, None]
    is_typed_E1 = (counts_ET.sum(1, keepdim=True) > 0).float()
    running = F.pad(torch.cat([counts_ET, is_typed_E1], 1).cumsum(0), (0, 0, 1, 0))
    sums = running[edges.graph.indptr[1:]] - running[edges.graph.indptr[:-1]]
    return sums[:, :-1] / sums[:, -1:].clamp_min(1)


class ContextualOrder(nn.Module):
    """Context in a given order: `h = GRU(x)`, `z = sigmoid(W [x; h])`, `x' = x + g z (h - x)`.

    *Reconstruction* of the paper's "contextual order": words as they stand in the sentence, regions
    as the detector ranked them.

    Args:
        width: d.
        is_gated: g is a number a channel that starts at 0; else it is 1.
    """

    def __init__(self, width: int, *, is_gated: bool) -> None:
        super().__init__()
        self.gru = nn.GRU(width, width, batch_first=True)
        self.gate = nn.Linear(2 * width, width)
        self.scale = nn.Parameter(torch.zeros(width)) if is_gated else None

    def forward(self, nodes_Md: Tensor, layout: Layout) -> Tensor:
        """`[M, d]` to `[M, d]`."""
        states_Md = run_gru(self.gru, nodes_Md, layout)
        gate_Md = self.gate(torch.cat([nodes_Md, states_Md], dim=-1)).sigmoid()
        change_Md = gate_Md * (states_Md - nodes_Md)
        return nodes_Md + (change_Md if self.scale is None else self.scale * change_Md)
