"""The backends of pair scores."""

from resg.kernels.dispatch import Backends

BACKENDS = Backends("pair_scores", ("reference", "torch", "triton"))
