"""Where the kernels' backends are tested: on the CPU, on a GPU, in Triton's interpreter.

A test that asks for `place` runs at every place that its kernel's backends have. The interpreter
must be asked for before Triton is imported, so its tests run in a process of their own, which
test_interpreter.py starts.
"""

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

INTERPRETING = os.environ.get("TRITON_INTERPRET") == "1"


def pytest_collection_modifyitems(config, items):
    """Deselect tests of the interpreter outside its process."""
    if INTERPRETING:
        return
    here = Path(__file__).parent  # pytest hands over the items of all folders
    left = [
        item
        for item in items
        if item.path.is_relative_to(here) and "interpreter" in item.name.split("[")[-1]
    ]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]


@dataclass(frozen=True)
class Place:
    backend: str
    name: str

    @property
    def device(self):
        return "cuda" if self.name == "cuda" else "cpu"

    @property
    def half_dtypes(self):
        """The interpreter's bfloat16 products are garbage."""
        return [torch.float16] if self.name == "interpreter" else [torch.float16, torch.bfloat16]

    @property
    def dtypes(self):
        return [torch.float32, *self.half_dtypes]


@pytest.fixture
def place(request):
    backend, _, name = request.param.partition("-")
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    if backend == "scatter" and find_spec("torch_scatter") is None:
        pytest.skip("torch-scatter is not installed")
    return Place(backend, name)


def pytest_generate_tests(metafunc):
    """Run a test at the places of its kernel, unless it names its own."""
    own = (mark.args[0] for mark in metafunc.definition.iter_markers("parametrize"))
    if "place" not in metafunc.fixturenames or "place" in own:
        return
    backends = ["torch", "triton"]
    if "graph_attention" in metafunc.definition.path.parts:
        backends.append("scatter")
    places = []
    for backend in backends:
        places.append(f"{backend}-{'interpreter' if backend == 'triton' else 'cpu'}")
        places.append(pytest.param(f"{backend}-cuda", marks=pytest.mark.cuda))
    metafunc.parametrize("place", places, indirect=True)
