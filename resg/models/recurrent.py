"""Recurrent networks over ragged rows.

M rows of all groups, D their width, d width of a state.
"""

import torch
from torch import Tensor, nn

from resg.graphs.ragged import Layout


def run_gru(gru: nn.GRU, rows_MD: Tensor, layout: Layout) -> Tensor:
    """Run a GRU over each group of rows; groups without rows are passed over.

    Returns:
        `[M, directions * d]`, a state a row.
    """
    if not len(rows_MD):
        return rows_MD.new_zeros((0, gru.hidden_size * (2 if gru.bidirectional else 1)))
    packed = nn.utils.rnn.PackedSequence(
        rows_MD.index_select(0, layout.by_step), torch.from_numpy(layout.step_sizes)
    )
    states, _ = gru(packed)
    return states.data.index_select(0, layout.step_place)
