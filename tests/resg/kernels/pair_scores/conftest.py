"""Cases for the tests of pair scores."""

import os
from dataclasses import dataclass

import pytest
import torch

from resg.kernels.pair_scores import pair_scores, torch_backend

INTERPRETING = os.environ.get("TRITON_INTERPRET") == "1"
LONG_TO_COMPILE = (
    "test_large_images_in_every_form",  # 30 s a form in float32, on one core
    "test_float32_scores_and_gradients_match_the_reference",  # 10 s
    "test_half_scores_and_gradients_match_the_reference",
)


def pytest_collection_modifyitems(items):
    """On a GPU, run first what takes long to compile.

    Then processes that share the tests (`-n 14 --maxschedchunk 1`) end at about the same time.
    """
    if torch.cuda.is_available():
        items.sort(key=lambda item: not item.name.startswith(LONG_TO_COMPILE))


@dataclass(frozen=True)
class Case:
    regions: torch.Tensor
    words: torch.Tensor
    region_ptr: torch.Tensor
    word_ptr: torch.Tensor
    grad: torch.Tensor

    def scores(self, backend, nodes=None, **settings):
        """With SCAN's normalisation unless the settings say otherwise: it has more to go wrong."""
        settings = {"normalise": "clipped_l2"} | settings
        regions, words = nodes or (self.regions, self.words)
        ptrs = self.region_ptr, self.word_ptr
        return pair_scores(regions, words, *ptrs, backend=backend, **settings)

    def run(self, backend, dtype=None, **settings):
        """Scores and the gradients for regions and words."""
        nodes = [
            x.detach().to(dtype or x.dtype).requires_grad_() for x in (self.regions, self.words)
        ]
        scores = self.scores(backend, nodes, **settings)
        grads = torch.autograd.grad(scores, nodes, self.grad.to(scores.dtype))
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
            (forward.ForwardPass, "launch_packed"),
            (forward.ForwardPass, "launch_scores"),
            (backward.Passes, "launch_gradients"),
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
