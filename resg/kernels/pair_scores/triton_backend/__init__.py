"""The `triton` backend: see "How the GPU path works" in ../README.md."""

from resg.kernels.pair_scores.triton_backend.backward import Passes

__all__ = ["Passes"]
