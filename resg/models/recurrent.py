"""Recurrent networks over ragged rows.

M rows of all groups, N groups, L the largest group, D width of the rows, d width of a state.
"""

import torch
from torch import Tensor, nn

from resg.graphs.ragged import Layout

WEIGHTS = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")


def run_gru(gru: nn.GRU, rows_MD: Tensor, layout: Layout) -> Tensor:
    """Run a GRU of one layer over each group of rows; groups without rows are passed over.

    Two directions run one after the other, the second over the groups turned round: given both at
    once, cuDNN's launches grow with the groups (on an H200, 510 for 128 captions, 926 for 512).
    Groups that are all equally long are read as they are, others as a packed sequence.

    Returns:
        `[M, d]`, a state a row; of two directions, their mean.
    """
    if not len(rows_MD):
        return rows_MD.new_zeros((0, gru.hidden_size))
    run = _run_packed if layout.steps else _run_padded
    ahead_Md = run(gru, _weights(gru, rows_MD, ""), rows_MD, layout, None)
    if not gru.bidirectional:
        return ahead_Md
    back_Md = run(gru, _weights(gru, rows_MD, "_reverse"), rows_MD, layout, layout.mirror)
    return (ahead_Md + back_Md) / 2


def _run_padded(
    gru: nn.GRU, weights: list[Tensor], rows_MD: Tensor, layout: Layout, mirror: Tensor | None
) -> Tensor:
    """States of the rows of groups that are equally long, in the order of `mirror` if one is given.

    The order of `mirror` undoes itself.
    """
    if mirror is not None:
        rows_MD = rows_MD.index_select(0, mirror)
    rows_LND = rows_MD.unflatten(0, (layout.num_groups, layout.longest)).transpose(0, 1)
    start = rows_MD.new_zeros((1, layout.num_groups, gru.hidden_size))
    states_LNd, _ = torch.gru(
        rows_LND, start, weights, True, 1, 0.0, gru.training, False, batch_first=False
    )
    states_Md = states_LNd.transpose(0, 1).flatten(0, 1)
    return states_Md if mirror is None else states_Md.index_select(0, mirror)


def _run_packed(
    gru: nn.GRU, weights: list[Tensor], rows_MD: Tensor, layout: Layout, mirror: Tensor | None
) -> Tensor:
    """The same for groups of different lengths."""
    steps = layout.steps
    assert steps is not None, "groups of different lengths are packed"
    rows, place = steps.rows, steps.place
    if mirror is not None:
        rows, place = mirror[rows], place[mirror]
    sizes = torch.from_numpy(steps.sizes)
    start = rows_MD.new_zeros((1, int(sizes[0]), gru.hidden_size))
    states_Md, _ = torch.gru(
        rows_MD.index_select(0, rows), sizes, start, weights, True, 1, 0.0, gru.training, False
    )
    return states_Md.index_select(0, place)


def _weights(gru: nn.GRU, rows_MD: Tensor, suffix: str) -> list[Tensor]:
    """Weights of one direction."""
    weights = [getattr(gru, name + suffix) for name in WEIGHTS]
    if gru.bidirectional and rows_MD.is_cuda and not torch.is_autocast_enabled("cuda"):
        return _side_by_side(weights)  # autocast copies them so itself
    return weights


def _side_by_side(weights: list[Tensor]) -> list[Tensor]:
    """The same weights in one piece of memory, as cuDNN reads those of one direction."""
    parts = torch.cat([weight.flatten() for weight in weights]).split([w.numel() for w in weights])
    return [part.view_as(weight) for part, weight in zip(parts, weights, strict=True)]
