from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from resg.transfer import HostCopy, prefetch, to_device

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Inner:
    rows: Any
    name: str


@dataclass(frozen=True)
class Outer:
    inner: Inner
    rows: Tensor
    number: int


def test_batches_come_in_order_and_none_is_left_out():
    assert list(prefetch(lambda n: n * n, range(5), CPU)) == [0, 1, 4, 9, 16]
    assert list(prefetch(lambda n: n, [], CPU)) == []


def test_what_fails_in_loading_reaches_the_training_loop():
    def load(number):
        if number == 2:
            raise ValueError("no features")
        return number

    batches = prefetch(load, range(5), CPU)
    assert [next(batches), next(batches)] == [0, 1]
    with pytest.raises(ValueError, match="no features"):
        next(batches)


def test_moving_to_a_device_keeps_what_is_no_tensor_and_goes_into_dataclasses():
    batch = Outer(Inner(None, "a"), torch.arange(3), 7)
    moved = to_device(batch, torch.device("meta"))
    assert moved.rows.is_meta
    assert (moved.inner, moved.number) == (Inner(None, "a"), 7)
    inner = to_device(Inner(torch.ones(2), "b"), torch.device("meta"))
    assert inner.rows is not None
    assert inner.rows.is_meta


def test_figures_reach_the_host():
    assert HostCopy(torch.tensor([1.0, 2.5], requires_grad=True)).values() == [1.0, 2.5]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_batch_is_whole_while_a_slow_step_reads_it_and_the_next_ones_are_made():
    device = torch.device("cuda", torch.cuda.current_device())
    size, count = 1 << 20, 40
    busy = torch.randn(4096, 4096, device=device)

    def load(number):
        rows = torch.full((size,), number)  # on the host: it goes through pinned memory
        batch = to_device(Outer(Inner(rows, ""), rows + 1, number), device)
        scratch = batch.rows * 3  # memory that the loading stream takes back at once
        return Outer(batch.inner, scratch - 2 * batch.rows, number)

    sums = []
    for batch in prefetch(load, range(count), device):
        for _ in range(10):
            busy = (busy @ busy).clamp(-1, 1)  # the batch is read long after Python let go of it
        sums.append(torch.stack([batch.inner.rows.sum(), batch.rows.sum(), busy.long().sum() * 0]))
    found = torch.stack(sums)[:, :2].tolist()
    assert found == [[size * n, size * (n + 1)] for n in range(count)]
