"""A GRU over ragged rows, against PyTorch's own over a packed sequence."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence, unpack_sequence

from resg.graphs.ragged import Layout, offsets
from resg.models.recurrent import run_gru
from resg.transfer import to_device

COUNTS = [[3], [1, 1, 1], [4, 4, 4], [2, 0, 5, 1, 5], [0, 9, 3, 0, 1, 2, 9, 4]]


def packed_states(gru, rows, counts):
    """States of the groups that have rows, by PyTorch alone."""
    groups = [group for group in rows.split(counts) if len(group)]
    states, _ = gru(pack_sequence(groups, enforce_sorted=False))
    states = torch.cat(unpack_sequence(states))
    return states.unflatten(-1, (2 if gru.bidirectional else 1, -1)).mean(-2)


def gradients(states, gru, rows):
    return torch.autograd.grad((states * states.detach().cos()).sum(), [rows, *gru.parameters()])


@pytest.mark.parametrize("counts", COUNTS, ids=str)
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one way", "both ways"])
def test_states_and_gradients_are_those_of_a_packed_sequence(counts, bidirectional):
    torch.manual_seed(0)
    gru = nn.GRU(5, 7, batch_first=True, bidirectional=bidirectional)
    rows = torch.randn(sum(counts), 5, requires_grad=True)
    states = run_gru(gru, rows, Layout.of(offsets(torch.tensor(counts))))
    expected = packed_states(gru, rows, counts)
    torch.testing.assert_close(states, expected)
    for own, theirs in zip(
        gradients(states, gru, rows), gradients(expected, gru, rows), strict=True
    ):
        torch.testing.assert_close(own, theirs)


@pytest.mark.parametrize("counts", [[], [0, 0]], ids=str)
def test_no_rows_give_no_states(counts):
    gru = nn.GRU(5, 7, bidirectional=True)
    ptr = offsets(torch.tensor(counts, dtype=torch.long))
    assert run_gru(gru, torch.zeros(0, 5), Layout.of(ptr)).shape == (0, 7)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one way", "both ways"])
@pytest.mark.parametrize("is_half", [False, True], ids=["fp32", "autocast"])
def test_a_gpu_gives_the_states_and_gradients_of_the_cpu(bidirectional, is_half, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    torch.manual_seed(0)
    gru = nn.GRU(16, 32, batch_first=True, bidirectional=bidirectional)
    rows = torch.randn(sum(COUNTS[-1]), 16)
    layout = Layout.of(offsets(torch.tensor(COUNTS[-1])))
    results = []
    for device in (torch.device("cpu"), torch.device("cuda")):
        there = rows.to(device, copy=True).requires_grad_()
        with torch.autocast("cuda", torch.bfloat16, enabled=is_half):
            states = run_gru(gru.to(device), there, to_device(layout, device)).float()
        found = [states.detach(), *gradients(states, gru, there)]
        results.append([tensor.cpu() for tensor in found])
    tolerance = 5e-2 if is_half else 1e-4
    for expected, own in zip(*results, strict=True):
        torch.testing.assert_close(own, expected, atol=tolerance, rtol=tolerance)
