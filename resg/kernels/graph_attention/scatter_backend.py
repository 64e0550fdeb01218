"""The `scatter` backend: edge by edge, with torch-scatter's CSR operations, on CPU and GPU."""

from torch_scatter import gather_csr, segment_csr

from resg.kernels.graph_attention.segments import Segments

SEGMENTS = Segments(
    sum=lambda rows, pointers: segment_csr(rows, pointers, reduce="sum"),
    max=lambda rows, pointers: segment_csr(rows, pointers, reduce="max"),
    expand=gather_csr,
)
forward, backward = SEGMENTS.forward, SEGMENTS.backward
