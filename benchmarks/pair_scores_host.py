"""How long is the host busy with a training step of pair_scores on Triton? Needs no GPU.

    python benchmarks/pair_scores_host.py

Triton's own dispatch runs against a driver that compiles and starts nothing, and products of
matrices cost nothing, so what is timed is planning, checks, allocations, autograd and dispatch: a
step of 4 images and 4 captions whose plan is remembered, and the plan of 128 captions of new
lengths. The calls of CUDA are missing, about 6 us for each operation that is started.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import torch
import triton.compiler
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from resg.kernels import dispatch
from resg.kernels.pair_scores import pair_scores
from resg.kernels.pair_scores.triton_backend import forward as scoring
from resg.kernels.pair_scores.triton_backend import plans

IMAGES, REGIONS, WORDS, WIDTH = 4, 36, 12, 16
TILE_WIDTH, SLOTS = 64, 16


class Driver:
    """What Triton asks of a driver before a kernel is compiled."""

    def get_current_device(self) -> int:
        """The only one."""
        return 0

    def get_current_stream(self, device: int) -> int:
        """The main stream."""
        return 0

    def get_current_target(self) -> GPUTarget:
        """An H200."""
        return GPUTarget("cuda", 90, 32)


class Compiled:
    """A compiled kernel that notes its name in place of a start."""

    started: ClassVar[list[str]] = []
    function, packed_metadata = None, ()

    def __init__(self, source: Any, **_: Any) -> None:
        self.name = source.fn.__name__

    def launch_metadata(self, *_: Any) -> None:
        """Nothing for profilers."""

    def run(self, *_: Any) -> None:
        """In place of CUDA's call."""
        self.started.append(self.name)

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        return self.run


def free_product(left: Tensor, right: Tensor) -> Tensor:
    """A tensor of the product's shape."""
    return left.new_empty((*left.shape[:-1], right.shape[-1]))


def without_gpu() -> None:
    """Let the Triton path run on CPU tensors up to the start of each kernel."""
    # stand-ins that fit what is called of them, not the types: hence each `ignore`
    driver.set_active(Driver())  # type: ignore[arg-type]
    triton.compiler.compile = Compiled  # type: ignore[assignment]
    dispatch.is_interpreting = lambda: True  # so that the backend takes tensors of the CPU
    torch.cuda.current_device = lambda: 0
    torch.bmm = torch.mm = torch.Tensor.__matmul__ = free_product  # type: ignore[assignment]
    scoring.HALF = replace(scoring.HALF, nodes=torch.float32)  # fast to fill on a CPU


def fastest_us(work: Callable[[], object], rounds: int = 200) -> float:
    """Microseconds a call, of the fastest ten calls in a row."""
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        for _ in range(10):
            work()
        times.append((time.perf_counter() - begin) / 10)
    return min(times) * 1e6


def main() -> None:
    torch.set_num_threads(1)
    without_gpu()
    nodes = [
        torch.randn(IMAGES * count, WIDTH).bfloat16().requires_grad_() for count in (REGIONS, WORDS)
    ]
    ptrs = [torch.arange(0, IMAGES * count + 1, count) for count in (REGIONS, WORDS)]
    grad = torch.randn(IMAGES, IMAGES)

    def forward() -> Tensor:
        return pair_scores(*nodes, *ptrs, normalise="clipped_l2", backend="triton")

    def step() -> None:
        torch.autograd.grad(forward(), nodes, grad)

    step()
    Compiled.started.clear()
    step()
    print(f"{len(Compiled.started)} kernels of Triton: {', '.join(Compiled.started)}")
    print(f"forward {fastest_us(forward):.0f} us, step {fastest_us(step):.0f} us")
    generator = torch.Generator().manual_seed(0)

    def plan() -> None:
        lengths = torch.randint(6, 19, (128,), generator=generator)
        word_ptr = torch.cat((torch.zeros(1, dtype=torch.long), lengths.cumsum(0)))
        plans.caption_runs(word_ptr, TILE_WIDTH, SLOTS, torch.device("cpu"))

    print(f"plan of 128 captions of new lengths {fastest_us(plan, 30):.0f} us")


if __name__ == "__main__":
    main()
