"""From the nodes of a graph to one embedding.

M nodes of all graphs, N graphs, L the largest number of nodes, d width.
"""

import math
from functools import cache

import torch
from torch import Tensor, nn

from resg.graphs.ragged import Layout
from resg.kernels.dispatch import in_autocast_type


class MeanPooling(nn.Module):
    """Mean of a graph's nodes."""

    def forward(self, nodes_Md: Tensor, layout: Layout) -> Tensor:
        """`[M, d]` nodes and their layout to `[N, d]`; a graph without nodes gives 0."""
        return layout.pad(nodes_Md).sum(1) / layout.counts[:, None].clamp_min(1)


class LastPooling(nn.Module):
    """The last node of a graph: the final state of a recurrent encoder."""

    def forward(self, nodes_Md: Tensor, layout: Layout) -> Tensor:
        """`[M, d]` nodes and their layout to `[N, d]`; every graph has a node."""
        return nodes_Md.index_select(0, layout.ptr[:-1] + layout.counts - 1)


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
        nodes_Md = in_autocast_type(nodes_Md)  # as the sum takes them: to round keeps the order
        sorted_NLd = layout.pad(nodes_Md, value=-math.inf).sort(dim=1, descending=True).values
        sorted_NLd = sorted_NLd.masked_fill(~layout.is_row[:, :, None], 0)
        weights_NL = self.position_weights(layout)
        return torch.einsum("nl,nld->nd", weights_NL.to(sorted_NLd.dtype), sorted_NLd)

    def position_weights(self, layout: Layout) -> Tensor:
        """`[N, L]` weights of the sorted positions; beyond a graph's length they are 0."""
        if not layout.longest:
            return self.weight.weight.new_zeros((layout.num_groups, 0))
        weights = self._weights_by_length(layout.longest, layout.ptr.device)
        return weights.index_select(0, layout.counts)

    def _weights_by_length(self, longest: int, device: torch.device) -> Tensor:
        """`[L+1, L]` weights of the sorted positions of graphs of 0, 1, ... L nodes.

        All lengths at once and padded, not packed: so cuDNN needs one launch for all steps of so
        narrow a GRU, in each pass.
        """
        codes, column, is_place = _codes_by_length(longest, self.code_width, device)
        states, _ = self.positions(codes)
        ahead, back = self.weight(states.unflatten(-1, (2, -1)))[..., 0].float().unbind(-1)
        # rows end together: the last one has no padding, so what it reads ahead holds for all
        logits = (ahead[-1] + back.gather(1, column)) / (2 * self.temperature)
        return logits.masked_fill(~is_place, -1e4).softmax(-1) * is_place  # no nodes, no weight


@cache  # for ever: a captured graph reads them again
def _codes_by_length(
    longest: int, width: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Positions of sequences of 0, 1, ... L places, that end in the same column.

    Returns:
        `[L+1, L, c]` sinusoidal codes (Vaswani et al. 2017, section 3.5), `[L+1, L]` the column of
        each place, and `[L+1, L]` bool, whether the sequence has that place.
    """
    with torch.inference_mode(False):  # kept for training too
        places_L = torch.arange(longest, device=device)
        padding_N1 = torch.arange(longest, -1, -1, device=device)[:, None]
        steps_c = torch.arange(0, width, 2, device=device, dtype=torch.float32)
        angles = places_L[:, None] * torch.exp(steps_c * (-math.log(10000.0) / width))
        codes_Lc = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
        return (
            codes_Lc[(places_L - padding_N1).clamp_min(0)],
            (places_L + padding_N1).clamp_max(longest - 1),
            places_L < longest - padding_N1,
        )
