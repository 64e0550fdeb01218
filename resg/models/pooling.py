"""From the nodes of a graph to one embedding.

M nodes of all graphs, N graphs, L the largest number of nodes, d width.
"""

import math

import torch
from torch import Tensor, nn

from resg.graphs.ragged import pad


class MeanPooling(nn.Module):
    """Mean of a graph's nodes."""

    def forward(self, nodes_Md: Tensor, ptr: Tensor) -> Tensor:
        """`[M, d]` nodes and `[N+1]` offsets to `[N, d]`; a graph without nodes gives 0."""
        padded_NLd, is_node_NL = pad(nodes_Md, ptr)
        return padded_NLd.sum(1) / is_node_NL.sum(1, keepdim=True).clamp_min(1)


class LastPooling(nn.Module):
    """The last node of a graph: the final state of a recurrent encoder."""

    def forward(self, nodes_Md: Tensor, ptr: Tensor) -> Tensor:
        """`[M, d]` nodes and `[N+1]` offsets to `[N, d]`; every graph has a node."""
        return nodes_Md[ptr[1:] - 1]


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

    def forward(self, nodes_Md: Tensor, ptr: Tensor) -> Tensor:
        """`[M, d]` nodes and `[N+1]` offsets to `[N, d]`; a graph without nodes gives 0."""
        padded_NLd, is_node_NL = pad(nodes_Md, ptr, value=-math.inf)
        sorted_NLd = padded_NLd.sort(dim=1, descending=True).values
        sorted_NLd = sorted_NLd.masked_fill(~is_node_NL[:, :, None], 0)
        weights_NL = self.position_weights(is_node_NL.sum(1), padded_NLd.shape[1])
        return torch.einsum("nl,nld->nd", weights_NL.to(sorted_NLd.dtype), sorted_NLd)

    def position_weights(self, lengths_N: Tensor, max_length: int) -> Tensor:
        """`[N, L]` weights of the sorted positions; beyond a graph's length they are 0."""
        lengths_U, row_of_graph_N = lengths_N.unique(return_inverse=True)
        device = lengths_N.device
        codes_ULc = self._codes(max_length, device).expand(len(lengths_U), -1, -1)
        is_position_UL = torch.arange(max_length, device=device) < lengths_U[:, None]
        # the backward direction must start at a graph's own end: a packed sequence does that
        packed = nn.utils.rnn.pack_padded_sequence(
            codes_ULc, lengths_U.clamp_min(1).cpu(), batch_first=True, enforce_sorted=False
        )
        states, _ = self.positions(packed)
        states_ULc, _ = nn.utils.rnn.pad_packed_sequence(
            states, batch_first=True, total_length=max_length
        )
        both_ULc = states_ULc.unflatten(-1, (2, self.code_width)).mean(-2)
        logits_UL = self.weight(both_ULc)[:, :, 0].float() / self.temperature
        logits_UL = logits_UL.masked_fill(~is_position_UL, -1e4)  # finite: an empty graph has none
        weights_UL = logits_UL.softmax(-1) * is_position_UL
        return weights_UL[row_of_graph_N]

    def _codes(self, length: int, device: torch.device) -> Tensor:
        """`[L, c]` sinusoidal codes (Vaswani et al. 2017, section 3.5)."""
        places_L1 = torch.arange(length, device=device, dtype=torch.float32)[:, None]
        steps_c = torch.arange(0, self.code_width, 2, device=device, dtype=torch.float32)
        angles = places_L1 * torch.exp(steps_c * (-math.log(10000.0) / self.code_width))
        return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
