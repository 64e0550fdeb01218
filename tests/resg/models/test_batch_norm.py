import numpy as np
import torch
from torch import nn

from resg.graphs.ragged import Layout, offsets
from resg.models.batch_norm import RowBatchNorm

COUNTS = torch.tensor([3, 1, 4])
CPU = torch.device("cpu")


def padded(rows, longest, filling):
    layout = Layout.padded(COUNTS.numpy(), longest, CPU)
    whole = torch.full((layout.num_rows, rows.shape[1]), filling)
    whole[layout.valid_rows] = rows
    return whole, layout


def test_ragged_rows_are_normalised_as_pytorch_does_it():
    own, plain = RowBatchNorm(5), nn.BatchNorm1d(5)
    layout = Layout.of(offsets(COUNTS))
    for step in range(3):
        rows = torch.randn(8, 5, generator=torch.Generator().manual_seed(step)) * 3 + 1
        torch.testing.assert_close(own(rows, layout), plain(rows))
    own.eval()
    plain.eval()
    torch.testing.assert_close(own(rows, layout), plain(rows))


def test_padding_changes_no_valid_row_no_statistic_and_no_gradient():
    rows = torch.randn(8, 5)
    results = []
    for filling in (None, 0.0, 1e3):
        norm = RowBatchNorm(5)
        start = rows.clone().requires_grad_()
        whole, layout = (
            (start, Layout.of(offsets(COUNTS))) if filling is None else padded(start, 6, filling)
        )
        out = layout.valid(norm(whole, layout))
        (out * torch.arange(40.0).view(8, 5)).sum().backward()
        results.append((out, norm.running_mean, norm.running_var, start.grad))
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-4)


def test_in_evaluation_an_item_does_not_depend_on_the_others():
    norm = RowBatchNorm(5)
    layout = Layout.of(offsets(COUNTS))
    rows = torch.randn(8, 5)
    norm(rows, layout)
    norm.eval()
    alone = norm(rows[:3], Layout.of(torch.from_numpy(np.array([0, 3]))))
    assert torch.equal(norm(rows, layout)[:3], alone)


def test_a_single_row_gives_finite_values():
    norm = RowBatchNorm(5)
    out = norm(torch.randn(1, 5), Layout.of(torch.tensor([0, 1])))
    assert out.isfinite().all()
    assert norm.running_var.isfinite().all()
