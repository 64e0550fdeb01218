# ruff: noqa: ANN001, ANN201 (Triton reads a kernel's annotations: constexpr is the only one it has)
"""Triton kernels for graphs of at most 64 nodes: one program holds one head of one graph.

M nodes, E edges, H heads, d head width.  q, k, v, out: [M, H, d] with any strides of nodes and
heads;  bias: [E, H];  lse: [M, H].  A tile is NODES x BLOCK, NODES a power of two that holds the
graph.  The program owns its graph's rows of every gradient, so nothing is added by two programs.
"""

import triton
import triton.language as tl


@triton.jit
def load_tile(base, rows, inside, stride, start, HEAD_DIM: tl.constexpr, BLOCK: tl.constexpr):
    """Columns `start` up to `start + BLOCK` of a graph's rows; 0 outside graph and head."""
    columns = start + tl.arange(0, BLOCK)
    keep = inside[:, None]
    if HEAD_DIM % BLOCK != 0:
        keep = keep & (columns < HEAD_DIM)[None, :]
    return tl.load(base + rows[:, None] * stride + columns[None, :], mask=keep, other=0.0)


@triton.jit
def store_tile(
    tile, base, rows, inside, stride, start, HEAD_DIM: tl.constexpr, BLOCK: tl.constexpr
):
    """The inverse of `load_tile`, rounding to the array's type."""
    columns = start + tl.arange(0, BLOCK)
    keep = inside[:, None]
    if HEAD_DIM % BLOCK != 0:
        keep = keep & (columns < HEAD_DIM)[None, :]
    place = base + rows[:, None] * stride + columns[None, :]
    tl.store(place, tile.to(base.dtype.element_ty), mask=keep)


@triton.jit
def count_bits(words):
    """Set bits of each 32-bit word, in the classic five steps (Triton has no portable popcount)."""
    words = words - ((words >> 1) & 0x55555555)
    words = (words & 0x33333333) + ((words >> 2) & 0x33333333)
    words = (words + (words >> 4)) & 0x0F0F0F0F
    return (words * 0x01010101) >> 24


@triton.jit
def load_edges(masks, indptr, node, rows, inside, NODES: tl.constexpr):
    """Which of the NODES x NODES pairs are edges, each target's first edge, and ranks within it.

    A target's edges start at its `indptr`, and its sources ascend, so an edge comes after as many
    as its mask has bits below the source's.
    """
    mask = tl.load(masks + node + rows, mask=inside, other=0)
    first = tl.load(indptr + node + rows, mask=inside, other=0)
    columns = tl.arange(0, NODES)
    low = mask.to(tl.uint32)
    word = tl.broadcast_to(low[:, None], [NODES, NODES])
    if NODES > 32:
        high = (mask >> 32).to(tl.uint32)
        word = tl.where(columns[None, :] < 32, word, high[:, None])
    bit = (columns % 32).to(tl.uint32)
    rank = count_bits(word & ((1 << bit) - 1)[None, :])
    if NODES > 32:
        rank += tl.where(columns[None, :] < 32, 0, count_bits(low)[:, None])
    return ((word >> bit[None, :]) & 1) != 0, first, rank.to(tl.int32)


@triton.jit
def dense_forward(
    q, k, v, bias, out, lse, node_ptr, indptr, masks,
    q_node, q_head, k_node, k_head, v_node, v_head, out_node, out_head,
    scale, num_heads, HEAD_DIM: tl.constexpr, NODES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Masked softmax attention within one graph, for one head."""
    graph = tl.program_id(0) // num_heads
    head = (tl.program_id(0) % num_heads).to(tl.int64)
    node = tl.load(node_ptr + graph)
    rows = tl.arange(0, NODES)
    inside = rows < tl.load(node_ptr + graph + 1) - node

    q += node * q_node + head * q_head
    k += node * k_node + head * k_head
    scores = tl.zeros([NODES, NODES], tl.float32)
    for start in tl.static_range(0, HEAD_DIM, BLOCK):
        q_tile = load_tile(q, rows, inside, q_node, start, HEAD_DIM, BLOCK)
        k_tile = load_tile(k, rows, inside, k_node, start, HEAD_DIM, BLOCK)
        scores = tl.dot(q_tile, tl.trans(k_tile), scores, input_precision="ieee")

    is_edge, first, rank = load_edges(masks, indptr, node, rows, inside, NODES)
    edge = (first * num_heads + head)[:, None] + rank * num_heads
    edge_bias = tl.load(bias + edge, mask=is_edge, other=0.0)
    scores = tl.where(is_edge, scores * scale + edge_bias.to(tl.float32), float("-inf"))
    top = tl.max(scores, 1)
    top = tl.where(top == float("-inf"), 0.0, top)  # an isolated node: all weights become 0
    weights = tl.exp(scores - top[:, None])
    total = tl.sum(weights, 1)
    total = tl.where(total > 0, total, 1.0)
    tl.store(lse + (node + rows) * num_heads + head, top + tl.log(total), mask=inside)

    v += node * v_node + head * v_head
    out += node * out_node + head * out_head
    for start in tl.static_range(0, HEAD_DIM, BLOCK):
        v_tile = load_tile(v, rows, inside, v_node, start, HEAD_DIM, BLOCK)
        tile = tl.dot(weights.to(v_tile.dtype), v_tile, input_precision="ieee") / total[:, None]
        store_tile(tile, out, rows, inside, out_node, start, HEAD_DIM, BLOCK)


@triton.jit
def dense_backward(
    grad, q, k, v, bias, lse, grad_q, grad_k, grad_v, grad_bias, node_ptr, indptr, masks,
    grad_node, grad_head, q_node, q_head, k_node, k_head, v_node, v_head, out_node, out_head,
    scale, num_heads, HEAD_DIM: tl.constexpr, NODES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """All gradients of one graph's head; weights are computed again from the log-sum-exp.

    `out_node` and `out_head` are the strides of the three gradients. The softmax's inner product is
    summed from the weights, since the whole row is here: the forward output is not read.
    """
    graph = tl.program_id(0) // num_heads
    head = (tl.program_id(0) % num_heads).to(tl.int64)
    node = tl.load(node_ptr + graph)
    rows = tl.arange(0, NODES)
    inside = rows < tl.load(node_ptr + graph + 1) - node

    grad += node * grad_node + head * grad_head
    q += node * q_node + head * q_head
    k += node * k_node + head * k_head
    v += node * v_node + head * v_head
    scores = tl.zeros([NODES, NODES], tl.float32)
    grad_weights = tl.zeros([NODES, NODES], tl.float32)
    for start in tl.static_range(0, HEAD_DIM, BLOCK):
        q_tile = load_tile(q, rows, inside, q_node, start, HEAD_DIM, BLOCK)
        k_tile = load_tile(k, rows, inside, k_node, start, HEAD_DIM, BLOCK)
        grad_tile = load_tile(grad, rows, inside, grad_node, start, HEAD_DIM, BLOCK)
        v_tile = load_tile(v, rows, inside, v_node, start, HEAD_DIM, BLOCK)
        scores = tl.dot(q_tile, tl.trans(k_tile), scores, input_precision="ieee")
        grad_weights = tl.dot(grad_tile, tl.trans(v_tile), grad_weights, input_precision="ieee")

    is_edge, first, rank = load_edges(masks, indptr, node, rows, inside, NODES)
    edge = (first * num_heads + head)[:, None] + rank * num_heads
    edge_bias = tl.load(bias + edge, mask=is_edge, other=0.0)
    row_lse = tl.load(lse + (node + rows) * num_heads + head, mask=inside, other=0.0)
    scores = scores * scale + edge_bias.to(tl.float32) - row_lse[:, None]
    weights = tl.exp(tl.where(is_edge, scores, float("-inf")))
    inner = tl.sum(weights * grad_weights, 1)
    grad_scores = weights * (grad_weights - inner[:, None])
    tl.store(grad_bias + edge, grad_scores.to(grad_bias.dtype.element_ty), mask=is_edge)

    weights = weights.to(q.dtype.element_ty)
    grad_scores = grad_scores.to(q.dtype.element_ty)
    to_node = node * out_node + head * out_head
    grad_q += to_node
    grad_k += to_node
    grad_v += to_node
    for start in tl.static_range(0, HEAD_DIM, BLOCK):
        if HEAD_DIM > BLOCK:  # else the tiles are still here
            q_tile = load_tile(q, rows, inside, q_node, start, HEAD_DIM, BLOCK)
            k_tile = load_tile(k, rows, inside, k_node, start, HEAD_DIM, BLOCK)
            grad_tile = load_tile(grad, rows, inside, grad_node, start, HEAD_DIM, BLOCK)
        tile = tl.dot(tl.trans(weights), grad_tile, input_precision="ieee")
        store_tile(tile, grad_v, rows, inside, out_node, start, HEAD_DIM, BLOCK)
        tile = tl.dot(grad_scores, k_tile, input_precision="ieee") * scale
        store_tile(tile, grad_q, rows, inside, out_node, start, HEAD_DIM, BLOCK)
        tile = tl.dot(tl.trans(grad_scores), q_tile, input_precision="ieee") * scale
        store_tile(tile, grad_k, rows, inside, out_node, start, HEAD_DIM, BLOCK)
