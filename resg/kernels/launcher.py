"""Launch a Triton kernel, reusing its compiled form instead of Triton's own search for it.

That search takes 20 us of the host per launch, most of what a small training step costs.
"""

from typing import Any

import torch
import triton

from resg.kernels.dispatch import is_interpreting

TRITON_VERSION = tuple(int(part) for part in triton.__version__.split(".")[:2])
LAUNCHED_BY_TRITON = is_interpreting() or TRITON_VERSION < (3, 3)  # 3.2's forms take no constants
COMPILED: dict[tuple[Any, ...], tuple[Any, tuple[Any, ...]]] = {}
"""Compiled kernels, with the constants that follow their operands, by all they depend on."""


def run_kernel(kernel: Any, grid: tuple[int, ...], *operands: Any, **constants: Any) -> None:
    """Launch a kernel on the current device, unless its grid is empty.

    Args:
        kernel: a function under `triton.jit`.
        grid: numbers of programs, one to three.
        operands: the kernel's arguments before its constants, in order.
        constants: its `tl.constexpr` arguments and Triton's launch options, by name.
    """
    if not all(grid):
        return
    if LAUNCHED_BY_TRITON:
        kernel[grid](*operands, **constants)
        return
    traits = map(_trait, operands)
    form = kernel.fn, torch.cuda.current_device(), *traits, *constants, *constants.values()
    found = COMPILED.get(form)
    if found is None:
        compiled = kernel[grid](*operands, **constants)
        last = tuple(constants[name] for name in kernel.arg_names[len(operands) :])
        COMPILED[form] = compiled, last
    else:
        compiled, last = found
        compiled[(*grid, 1, 1)](*operands, *last)


def _trait(operand: Any) -> Any:
    """What Triton specialises a kernel for, of an operand; finer at most, never coarser."""
    if isinstance(operand, torch.Tensor):
        return operand.dtype, operand.data_ptr() % 16 == 0
    if isinstance(operand, int):
        return operand % 16 == 0, operand == 1, operand.bit_length() > 31
    return float if isinstance(operand, float) else operand
