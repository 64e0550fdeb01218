"""Shared fixtures of the pipeline's tests."""

import sys
from pathlib import Path

import pytest

# Workers import the stages of the tests by name, from this folder.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def shared_data() -> Path:
    """Real photographs and captions, where they are at hand."""
    folder = Path(__file__).parents[3] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("../shared/data is absent")
    return folder
