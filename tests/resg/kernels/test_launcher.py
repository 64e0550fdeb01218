"""Does a kernel's second start reach the form that Triton compiled for such operands?"""

import pytest
import torch

pytest.importorskip("triton")

from resg.kernels import launcher


class Kernel:
    """Stands for a compiler's function: notes what it was asked to compile, and every start."""

    arg_names = ("nodes_ptr", "count", "factor", "WIDTH", "BLOCK")

    def __init__(self):
        self.fn = self
        self.compiled = 0
        self.started = []

    def __getitem__(self, grid):
        def start(*operands, WIDTH, BLOCK, num_warps):
            self.compiled += 1
            form = Form(self.started, self.compiled)
            form[(*grid, 1, 1)[:3]](*operands, WIDTH, BLOCK)
            return form

        return start


class Form:
    def __init__(self, started, number):
        self.started, self.number = started, number

    def __getitem__(self, grid):
        return lambda *operands: self.started.append((self.number, grid[:3], operands))


@pytest.fixture
def start(monkeypatch):
    monkeypatch.setattr(launcher, "LAUNCHED_BY_TRITON", False)
    monkeypatch.setattr(launcher, "COMPILED", {})
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    kernel = Kernel()

    def run(nodes, count=32, factor=1.0, grid=(4,), **changes):
        constants = {"BLOCK": 8, "num_warps": 4, "WIDTH": 64} | changes
        launcher.run_kernel(kernel, grid, nodes, count, factor, **constants)
        return kernel

    return run


def test_equal_forms_are_compiled_once_and_get_their_own_operands(start):
    first, second = torch.zeros(8), torch.ones(8)
    start(first, 32, 1.0)
    kernel = start(second, 48, 2.0, grid=(2, 3))
    assert kernel.compiled == 1
    assert kernel.started[0] == (1, (4, 1, 1), (first, 32, 1.0, 64, 8))
    number, grid, operands = kernel.started[1]
    assert (number, grid) == (1, (2, 3, 1))
    assert operands[0] is second
    assert operands[1:] == (48, 2.0, 64, 8)


@pytest.mark.parametrize(
    "change",
    [
        {"nodes": torch.zeros(8, dtype=torch.float16)},
        {"nodes": torch.zeros(9)[1:]},  # vectors of 16 bytes cannot be loaded from there
        {"count": 1},
        {"count": 33},
        {"count": 2**31},
        {"BLOCK": 16},
        {"num_warps": 8},
    ],
)
def test_what_triton_compiles_for_makes_another_form(start, change):
    start(torch.zeros(8))
    kernel = start(**{"nodes": torch.zeros(8)} | change)
    assert kernel.compiled == 2
    assert start(**{"nodes": torch.zeros(8)} | change).compiled == 2


def test_an_empty_grid_starts_nothing(start):
    assert start(torch.zeros(8), grid=(0,)).compiled == 0
