"""Recurrent networks over ragged rows.

M rows of all groups, D their width, d width of a state.
"""

import torch
from torch import Tensor, nn

from resg.graphs.ragged import Layout

WEIGHTS = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")


def run_gru(gru: nn.GRU, rows_MD: Tensor, layout: Layout) -> Tensor:
    """Run a GRU of one layer over each group of rows; groups without rows are passed over.

    Two directions run one after the other, the second over the groups turned round: given both at
    once, cuDNN's launches grow with the groups (on an H200, 510 for 128 captions, 926 for 512).

    Returns:
        `[M, d]`, a state a row; of two directions, their mean.
    """
    if not len(rows_MD):
        return rows_MD.new_zeros((0, gru.hidden_size))
    step_sizes = torch.from_numpy(layout.step_sizes)
    weights = [getattr(gru, name) for name in WEIGHTS]
    steps_Md = _run_one_way(gru, weights, rows_MD.index_select(0, layout.by_step), step_sizes)
    ahead_Md = steps_Md.index_select(0, layout.step_place)
    if not gru.bidirectional:
        return ahead_Md
    weights = [getattr(gru, f"{name}_reverse") for name in WEIGHTS]
    turned_MD = rows_MD.index_select(0, layout.mirror[layout.by_step])
    steps_Md = _run_one_way(gru, weights, turned_MD, step_sizes)
    return (ahead_Md + steps_Md.index_select(0, layout.step_place[layout.mirror])) / 2


def _run_one_way(
    gru: nn.GRU, weights: list[Tensor], steps_MD: Tensor, step_sizes: Tensor
) -> Tensor:
    """States of rows in the order of a packed sequence, by the weights of one direction."""
    if gru.bidirectional and steps_MD.is_cuda and not torch.is_autocast_enabled("cuda"):
        weights = _side_by_side(weights)  # autocast copies them so itself
    start = steps_MD.new_zeros((1, int(step_sizes[0]), gru.hidden_size))
    states_Md, _ = torch.gru(
        steps_MD,
        step_sizes,
        start,
        weights,
        has_biases=True,
        num_layers=1,
        dropout=0.0,
        train=gru.training,
        bidirectional=False,
    )
    return states_Md


def _side_by_side(weights: list[Tensor]) -> list[Tensor]:
    """The same weights in one piece of memory, as cuDNN reads those of one direction."""
    parts = torch.cat([weight.flatten() for weight in weights]).split([w.numel() for w in weights])
    return [part.view_as(weight) for part, weight in zip(parts, weights, strict=True)]
