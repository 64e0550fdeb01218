"""The backends of graph attention."""

from resg.kernels.dispatch import Backends

BACKENDS = Backends(
    "graph_attention", ("reference", "scatter", "torch", "triton"), triton_width=256
)
