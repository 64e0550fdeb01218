"""The `scatter` backend: edge by edge, with torch-scatter's CSR operations, on CPU and GPU."""

from torch import Tensor
from torch_scatter import gather_csr, segment_csr

from resg.graphs.batch import GraphBatch
from resg.kernels.graph_attention.segments import Segments, edges_backward, edges_forward

SEGMENTS = Segments(
    sum=lambda rows, pointers: segment_csr(rows, pointers, reduce="sum"),
    max=lambda rows, pointers: segment_csr(rows, pointers, reduce="max"),
    expand=gather_csr,
)


def forward(
    q: Tensor, k: Tensor, v: Tensor, edge_bias: Tensor, graph: GraphBatch, scale: float
) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp."""
    return edges_forward(SEGMENTS, q, k, v, edge_bias, graph, scale)


def backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    edge_bias: Tensor,
    out: Tensor | None,
    lse: Tensor,
    graph: GraphBatch,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of q, k, v and the edge bias; the output is not needed."""
    return edges_backward(SEGMENTS, grad, q, k, v, edge_bias, lse, graph, scale)
