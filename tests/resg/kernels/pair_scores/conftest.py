"""Cases and backends for the tests of pair scores.

A backend is tested at a place: `cpu`, `cuda` (marked so), or, for Triton without a GPU, in its
`interpreter`, whose tests run in a process of their own, which ../test_interpreter.py starts.
"""

import os
from dataclasses import dataclass

import pytest
import torch

from resg.kernels.pair_scores import pair_scores, torch_backend

INTERPRETING = os.environ.get("TRITON_INTERPRET") == "1"
PLACES = [
    pytest.param(("torch", "cpu"), id="torch-cpu"),
    pytest.param(("triton", "interpreter"), id="triton-interpreter"),
    pytest.param(("torch", "cuda"), id="torch-cuda", marks=pytest.mark.cuda),
    pytest.param(("triton", "cuda"), id="triton-cuda", marks=pytest.mark.cuda),
]


LONG_TO_COMPILE = (
    "test_large_images_in_every_form",  # 30 s a form in float32, on one core
    "test_float32_scores_and_gradients_match_the_reference",  # 10 s
    "test_half_scores_and_gradients_match_the_reference",
)


def pytest_collection_modifyitems(config, items):
    """Interpreter tests run in the interpreter's process alone; on a GPU, what compiles long first.

    Then processes that share the tests (`-n 14 --maxschedchunk 1`) end at about the same time.
    """
    if torch.cuda.is_available():
        items.sort(key=lambda item: not item.name.startswith(LONG_TO_COMPILE))
    chosen = [
        item for item in items if INTERPRETING or "interpreter" not in item.name.split("[")[-1]
    ]
    left = [item for item in items if item not in chosen]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = chosen


@dataclass(frozen=True)
class Place:
    backend: str
    name: str

    @property
    def device(self):
        return "cuda" if self.name == "cuda" else "cpu"

    @property
    def half_dtypes(self):
        """The interpreter's bfloat16 products are garbage; nodes are computed in float16 anyway."""
        return [torch.float16] if self.name == "interpreter" else [torch.float16, torch.bfloat16]


@pytest.fixture(params=PLACES)
def place(request):
    backend, name = request.param
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    return Place(backend, name)


@dataclass(frozen=True)
class Case:
    regions: torch.Tensor
    words: torch.Tensor
    region_ptr: torch.Tensor
    word_ptr: torch.Tensor
    grad: torch.Tensor

    def scores(self, backend, **settings):
        return pair_scores(
            self.regions, self.words, self.region_ptr, self.word_ptr, backend=backend, **settings
        )

    def run(self, backend, dtype=None, **settings):
        """Scores and the gradients for regions and words."""
        regions, words = (
            x.detach().to(dtype or x.dtype).requires_grad_() for x in (self.regions, self.words)
        )
        scores = pair_scores(
            regions, words, self.region_ptr, self.word_ptr, backend=backend, **settings
        )
        grads = torch.autograd.grad(scores, (regions, words), self.grad.to(scores.dtype))
        return [scores.detach(), *grads]

    def errors(self, results, **settings):
        """RMS relative error of each result against the reference in float64."""
        exact = self.run("reference", torch.float64, **settings)
        return [
            float((x.double() - y).norm() / y.norm()) for x, y in zip(results, exact, strict=True)
        ]


def pointer(counts):
    return torch.tensor([0, *counts]).cumsum(0)


@pytest.fixture
def make_case():
    def make(regions, words, *, width=32, dtype=torch.float32, device="cpu", seed=0, length=1.0):
        generator = torch.Generator().manual_seed(seed)
        shared = torch.randn(width, generator=generator) * 0.3

        def unit(rows):
            noise = torch.randn(rows, width, generator=generator)
            nodes = torch.nn.functional.normalize(noise + shared, dim=1)
            return (nodes * length).to(dtype).to(device)

        grad = torch.randn(len(regions), len(words), generator=generator).to(device)
        return Case(unit(sum(regions)), unit(sum(words)), pointer(regions), pointer(words), grad)

    return make


@pytest.fixture
def ran(monkeypatch):
    """How often the torch tiles, and the Triton kernels, ran since this fixture was made."""
    counts = {"torch": 0, "triton": 0}

    def counted(name, function):
        def call(*args, **kwargs):
            counts[name] += 1
            return function(*args, **kwargs)

        return call

    for name in ("tile_scores", "tile_gradients"):
        monkeypatch.setattr(torch_backend, name, counted("torch", getattr(torch_backend, name)))
    if INTERPRETING or torch.cuda.is_available():
        from resg.kernels.pair_scores.triton_backend import backward, forward

        for owner, method in (
            (forward.PairLaunch, "launch_packed"),
            (forward.PairLaunch, "launch_scores"),
            (backward.PairGradient, "launch_gradients"),
        ):
            monkeypatch.setattr(owner, method, counted("triton", getattr(owner, method)))
    return counts


@pytest.fixture
def started(monkeypatch):
    """Names of the Triton kernels started since this fixture was made."""
    names = []
    if INTERPRETING or torch.cuda.is_available():
        from resg.kernels.pair_scores.triton_backend import backward, forward

        for module in (forward, backward):
            run = module.run_kernel

            def spy(kernel, *args, run=run, **constants):
                names.append(getattr(kernel, "fn", kernel).__name__)
                return run(kernel, *args, **constants)

            monkeypatch.setattr(module, "run_kernel", spy)
    return names
