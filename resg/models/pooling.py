"""From the nodes of a graph to one embedding.

M nodes of all graphs, N graphs, L the largest number of nodes, d width.
"""

import math

import torch
from torch import Tensor, nn

from resg.graphs.ragged import Layout
from resg.models.recurrent import run_gru


class MeanPooling(nn.Module):
    """Mean of a graph's nodes."""

    def forward(self, nodes_Md: Tensor, layout: Layout) -> Tensor:
        """`[M, d]` nodes and their layout to `[N, d]`; a graph without nodes gives 0."""
        return layout.pad(nodes_Md).sum(1) / layout.counts[:, None].clamp_min(1)


class LastPooling(nn.Module):
    """The last node of a graph: the final state of a recurrent encoder."""

    def forward(self, nodes_Md: Tensor, layout: Layout) -> Tensor:
        """`[M, d]` nodes and their layout to `[N, d]`; every graph has a node."""
        return nodes_Md.index_select(0, layout.ptr[1:] - 1)


class GeneralisedPooling(nn.Module):
    """Generalised pooling (Chen et al. 2021, section 3.2).

    Each dimension's values are sorted from the largest and summed with weights that a small
    bidirectional GRU gives to the sorted positions; maximum and mean are special cases. The weights
    depend on the number of nodes alone, so they are computed once a length.

    Args:
        code_width: width of the sinusoidal code of a position, and of the GRU.
        temperature: of the softmax over positions.
    """

    def __init__(self, code_width: int = 32, temperature: float = 0.1) -> None:
        super().__init__()
        self.code_width = code_width
        self.temperature = temperature
        self.positions = nn.GRU(code_width, code_width, batch_first=True, bidirectional=True)
        self.weight = nn.Linear(code_width, 1, bias=False)

    def forward(self, nodes_Md: Tensor, layout: Layout) -> Tensor:
        """`[M, d]` nodes and their layout to `[N, d]`; a graph without nodes gives 0."""
        sorted_NLd = layout.pad(nodes_Md, value=-math.inf).sort(dim=1, descending=True).values
        sorted_NLd = sorted_NLd.masked_fill(~layout.is_row[:, :, None], 0)
        weights_NL = self.position_weights(layout)
        return torch.einsum("nl,nld->nd", weights_NL.to(sorted_NLd.dtype), sorted_NLd)

    def position_weights(self, layout: Layout) -> Tensor:
        """`[N, L]` weights of the sorted positions; beyond a graph's length they are 0."""
        distinct, group_N = layout.distinct, layout.distinct_group
        assert distinct is not None, "a batch's layout has the layout of its lengths"
        assert group_N is not None, "and knows which of them is whose"
        codes_Lc = self._codes(distinct.longest, layout.ptr.device)
        # the backward direction starts at each length's own end
        states = run_gru(self.positions, codes_Lc[distinct.within], distinct)
        both = states.unflatten(-1, (2, self.code_width)).mean(-2)
        logits_UL = distinct.pad(self.weight(both)[:, 0].float() / self.temperature, value=-1e4)
        weights_UL = logits_UL.softmax(-1) * distinct.is_row  # an empty graph has no weight
        return weights_UL.index_select(0, group_N)

    def _codes(self, length: int, device: torch.device) -> Tensor:
        """`[L, c]` sinusoidal codes (Vaswani et al. 2017, section 3.5)."""
        places_L1 = torch.arange(length, device=device, dtype=torch.float32)[:, None]
        steps_c = torch.arange(0, self.code_width, 2, device=device, dtype=torch.float32)
        angles = places_L1 * torch.exp(steps_c * (-math.log(10000.0) / self.code_width))
        return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
