# ruff: noqa: ANN001, ANN201 (Triton reads a kernel's annotations: constexpr is the only one it has)
"""Triton kernels for graphs of any size: one program walks the edges of one node, for one head.

M nodes, E edges, H heads, d head width.  q, k, v, out: [M, H, d] with any strides of nodes and
heads;  bias: [E, H];  lse: [M, H].  Edges are read EDGES at a time.  The forward pass and the
targets' half of the backward pass walk the incoming edges (CSR), the sources' half the outgoing
ones (the transpose), so each gradient has one writer.

The loops are `while`, since Triton 3.6's interpreter fails on `range` of loaded numbers with NumPy
from 2.4 on.
"""

import triton
import triton.language as tl


@triton.jit
def load_rows(base, nodes, stride, keep, columns):
    """One head's rows of these nodes, in float32; 0 where `keep` is not set."""
    place = base + nodes[:, None] * stride + columns[None, :]
    return tl.load(place, mask=keep, other=0.0).to(tl.float32)


@triton.jit
def edges_forward(
    q, k, v, bias, out, lse, indptr, indices,
    q_node, q_head, k_node, k_head, v_node, v_head, out_node, out_head,
    scale, num_heads, HEAD_DIM: tl.constexpr, WIDTH: tl.constexpr, EDGES: tl.constexpr,
):  # fmt: skip
    """Softmax attention of one target over its incoming edges, in one pass."""
    node = (tl.program_id(0) // num_heads).to(tl.int64)
    head = (tl.program_id(0) % num_heads).to(tl.int64)
    columns = tl.arange(0, WIDTH)
    used = columns < HEAD_DIM
    last = tl.load(indptr + node + 1)
    query = tl.load(q + node * q_node + head * q_head + columns, mask=used, other=0.0)
    query = query.to(tl.float32) * scale

    top = tl.full([], float("-inf"), tl.float32)
    total = tl.zeros([], tl.float32)
    summed = tl.zeros([WIDTH], tl.float32)
    start = tl.load(indptr + node)
    while start < last:
        edge = start + tl.arange(0, EDGES)
        is_edge = edge < last
        source = tl.load(indices + edge, mask=is_edge, other=0)
        keep = is_edge[:, None] & used[None, :]
        key = load_rows(k + head * k_head, source, k_node, keep, columns)
        value = load_rows(v + head * v_head, source, v_node, keep, columns)
        edge_bias = tl.load(bias + edge * num_heads + head, mask=is_edge, other=0.0)
        scores = tl.sum(query[None, :] * key, 1) + edge_bias.to(tl.float32)
        scores = tl.where(is_edge, scores, float("-inf"))
        new_top = tl.maximum(top, tl.max(scores, 0))
        # while all scores so far are minus infinity, they count from 0: all weights are 0
        origin = tl.where(new_top == float("-inf"), 0.0, new_top)
        weights = tl.exp(scores - origin)
        rescale = tl.exp(top - origin)
        total = total * rescale + tl.sum(weights, 0)
        summed = summed * rescale + tl.sum(weights[:, None] * value, 0)
        top = new_top
        start += EDGES

    total = tl.where(total > 0, total, 1.0)  # an isolated node: its sum is 0 already
    at_out = out + node * out_node + head * out_head + columns
    tl.store(at_out, (summed / total).to(out.dtype.element_ty), mask=used)
    top = tl.where(top == float("-inf"), 0.0, top)  # as the dense kernel stores it
    tl.store(lse + node * num_heads + head, top + tl.log(total))


@triton.jit
def edges_backward_targets(
    grad, q, k, v, bias, out, lse, grad_q, weights_out, grad_scores_out, indptr, indices,
    grad_node, grad_head, q_node, q_head, k_node, k_head, v_node, v_head, out_node, out_head,
    scale, num_heads, HEAD_DIM: tl.constexpr, WIDTH: tl.constexpr, EDGES: tl.constexpr,
):  # fmt: skip
    """Gradient of one query; weight and score gradient `[E, H]` of each edge into the target.

    `out_node` and `out_head` are the strides of the output and of the query's gradient.
    """
    node = (tl.program_id(0) // num_heads).to(tl.int64)
    head = (tl.program_id(0) % num_heads).to(tl.int64)
    columns = tl.arange(0, WIDTH)
    used = columns < HEAD_DIM
    last = tl.load(indptr + node + 1)
    at_row = node * out_node + head * out_head + columns
    query = tl.load(q + node * q_node + head * q_head + columns, mask=used, other=0.0)
    query = query.to(tl.float32) * scale
    grad_row = tl.load(grad + node * grad_node + head * grad_head + columns, mask=used, other=0.0)
    grad_row = grad_row.to(tl.float32)
    out_row = tl.load(out + at_row, mask=used, other=0.0).to(tl.float32)
    inner = tl.sum(grad_row * out_row, 0)
    row_lse = tl.load(lse + node * num_heads + head)

    summed = tl.zeros([WIDTH], tl.float32)
    start = tl.load(indptr + node)
    while start < last:
        edge = start + tl.arange(0, EDGES)
        is_edge = edge < last
        source = tl.load(indices + edge, mask=is_edge, other=0)
        keep = is_edge[:, None] & used[None, :]
        key = load_rows(k + head * k_head, source, k_node, keep, columns)
        value = load_rows(v + head * v_head, source, v_node, keep, columns)
        at_edge = edge * num_heads + head
        edge_bias = tl.load(bias + at_edge, mask=is_edge, other=0.0).to(tl.float32)
        scores = tl.sum(query[None, :] * key, 1) + edge_bias - row_lse
        weights = tl.exp(tl.where(is_edge, scores, float("-inf")))
        grad_scores = weights * (tl.sum(grad_row[None, :] * value, 1) - inner)
        tl.store(weights_out + at_edge, weights, mask=is_edge)
        tl.store(grad_scores_out + at_edge, grad_scores, mask=is_edge)
        summed += tl.sum(grad_scores[:, None] * key, 0)
        start += EDGES
    tl.store(grad_q + at_row, (summed * scale).to(grad_q.dtype.element_ty), mask=used)


@triton.jit
def edges_backward_sources(
    grad, q, weights_in, grad_scores_in, grad_k, grad_v, reverse_indptr, reverse_indices,
    reverse_edges,
    grad_node, grad_head, q_node, q_head, out_node, out_head,
    scale, num_heads, HEAD_DIM: tl.constexpr, WIDTH: tl.constexpr, EDGES: tl.constexpr,
):  # fmt: skip
    """Gradients of one key and one value, summed over the edges out of their node."""
    node = (tl.program_id(0) // num_heads).to(tl.int64)
    head = (tl.program_id(0) % num_heads).to(tl.int64)
    columns = tl.arange(0, WIDTH)
    used = columns < HEAD_DIM
    last = tl.load(reverse_indptr + node + 1)
    key_sum = tl.zeros([WIDTH], tl.float32)
    value_sum = tl.zeros([WIDTH], tl.float32)
    start = tl.load(reverse_indptr + node)
    while start < last:
        place = start + tl.arange(0, EDGES)
        is_edge = place < last
        target = tl.load(reverse_indices + place, mask=is_edge, other=0)
        at_edge = tl.load(reverse_edges + place, mask=is_edge, other=0) * num_heads + head
        keep = is_edge[:, None] & used[None, :]
        query = load_rows(q + head * q_head, target, q_node, keep, columns)
        grad_row = load_rows(grad + head * grad_head, target, grad_node, keep, columns)
        weights = tl.load(weights_in + at_edge, mask=is_edge, other=0.0)
        grad_scores = tl.load(grad_scores_in + at_edge, mask=is_edge, other=0.0)
        key_sum += tl.sum(grad_scores[:, None] * query, 0)
        value_sum += tl.sum(weights[:, None] * grad_row, 0)
        start += EDGES
    at_row = node * out_node + head * out_head + columns
    tl.store(grad_k + at_row, (key_sum * scale).to(grad_k.dtype.element_ty), mask=used)
    tl.store(grad_v + at_row, value_sum.to(grad_v.dtype.element_ty), mask=used)
