"""Kernels over nodes: lay them out, multiply them with themselves, gather their gradients."""

# No postponed annotations here: tl.constexpr must be seen as what it is.
# ruff: noqa: ANN001, ANN201
# pyright: reportGeneralTypeIssues=false, reportArgumentType=false
import triton
import triton.language as tl

LEAST_NORM = tl.constexpr(1e-30)
GRADIENT_BITS = tl.constexpr(8)  # the largest gradient of a score becomes 2 to this


@triton.jit
def power_of_two(largest, BITS: tl.constexpr):
    """Power of two that brings `largest` between 2 ** (BITS - 1) and 1.01 * 2 ** BITS.

    The hundredth is for unit vectors, which rounding can leave a little longer than 1.
    """
    exponent = tl.maximum(largest * 0.99, LEAST_NORM).to(tl.int32, bitcast=True) >> 23
    biased = (exponent - 253 - BITS) * -1  # of 2 ** (BITS + 126 - exponent)
    return (tl.maximum(biased, 1) << 23).to(tl.float32, bitcast=True)


@triton.jit(do_not_specialize=["width"])
def pack_kernel(
    nodes_ptr, source_ptr, longest_ptr, packed_ptr, inv_length_ptr,
    node_stride, column_stride, width,
    SCALED: tl.constexpr, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """Copy node `source[row]` to `packed[row]`, zeros for source -1; grid (rows,).

    Where SCALED, by the power of two that brings the longest node to length 1 at most. inv_length
    gets one over the length of what was written, and 0 for a node without one, whose cosines are 0.
    """
    row = tl.program_id(0).to(tl.int64)
    source = tl.load(source_ptr + row).to(tl.int64)
    scale = 1.0
    if SCALED:
        scale = power_of_two(tl.load(longest_ptr), 0)
    square = tl.zeros([BLOCK], dtype=tl.float32)
    for first in range(0, width, BLOCK):
        column = first + tl.arange(0, BLOCK)
        place = nodes_ptr + source * node_stride + column.to(tl.int64) * column_stride
        node = tl.load(place, mask=(column < width) & (source >= 0), other=0.0)
        node = (node.to(tl.float32) * scale).to(packed_ptr.dtype.element_ty)
        tl.store(packed_ptr + row * width + column, node, mask=column < width)
        square += node.to(tl.float32) * node.to(tl.float32)
    length = tl.sqrt(tl.sum(square, 0))
    inverse = tl.where(length > LEAST_NORM, 1.0 / tl.maximum(length, LEAST_NORM), 0.0)
    tl.store(inv_length_ptr + row, inverse)


@triton.jit(do_not_specialize=["width"])
def gram_kernel(
    packed_ptr, start_ptr, slot_ptr, gram_ptr, width,
    W: tl.constexpr, BLOCK: tl.constexpr, PRECISION: tl.constexpr,
) -> None:  # fmt: skip
    """Products of each run's nodes `[W, W]`, zeros between owners and in padding; grid (runs,).

    A run's rows in `packed` begin at `start[run]`; a row whose slot is -1 is not read.
    """
    run = tl.program_id(0)
    w = tl.arange(0, W)
    slot = tl.load(slot_ptr + run * W + w)
    row = (tl.load(start_ptr + run) + w).to(tl.int64) * width
    gram = tl.zeros([W, W], dtype=tl.float32)
    for first in range(0, width, BLOCK):
        column = first + tl.arange(0, BLOCK)
        is_node = (slot >= 0)[:, None] & (column < width)[None, :]
        nodes = tl.load(packed_ptr + row[:, None] + column[None, :], mask=is_node, other=0.0)
        gram = tl.dot(nodes, tl.trans(nodes), gram, input_precision=PRECISION)
    same = (slot[:, None] == slot[None, :]) & (slot >= 0)[:, None]
    place = run.to(tl.int64) * W * W + w[:, None] * W + w[None, :]
    tl.store(gram_ptr + place, tl.where(same, gram, 0.0).to(gram_ptr.dtype.element_ty))


@triton.jit(do_not_specialize=["width"])
def gather_gradient_kernel(
    sum_ptr, through_S_ptr, through_gram_ptr, length_ptr, inv_length_ptr, packed_ptr, width,
    FIRST: tl.constexpr, GRAM: tl.constexpr, LENGTH: tl.constexpr, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """Add up what one tile gives to its nodes' gradients; grid (rows,).

    The product with the gradient of S, that with the gradient of the gram matrix (GRAM), and, for
    nodes that attend (LENGTH), their own direction times the coefficient of their length. Written
    over what `sum` holds where FIRST.
    """
    row = tl.program_id(0).to(tl.int64)
    coefficient = 0.0
    if LENGTH:
        inverse = tl.load(inv_length_ptr + row)
        coefficient = tl.load(length_ptr + row) * inverse * inverse
    for first in range(0, width, BLOCK):
        column = first + tl.arange(0, BLOCK)
        is_inside = column < width
        place = row * width + column
        total = tl.load(through_S_ptr + place, mask=is_inside, other=0.0).to(tl.float32)
        if GRAM:
            total += tl.load(through_gram_ptr + place, mask=is_inside, other=0.0).to(tl.float32)
        if LENGTH:
            node = tl.load(packed_ptr + place, mask=is_inside, other=0.0).to(tl.float32)
            total -= coefficient * node
        if not FIRST:
            total += tl.load(sum_ptr + place, mask=is_inside, other=0.0)
        tl.store(sum_ptr + place, total, mask=is_inside)


@triton.jit(do_not_specialize=["width"])
def unpack_kernel(
    sum_ptr, source_ptr, longest_ptr, largest_ptr, out_ptr, width,
    SCALED: tl.constexpr, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """Bring row `row` of the sums back to node `source[row]`, without the scales; grid (rows,)."""
    row = tl.program_id(0).to(tl.int64)
    source = tl.load(source_ptr + row).to(tl.int64)
    scale = 1.0
    if SCALED:
        scale = power_of_two(tl.load(longest_ptr), 0)
        scale /= power_of_two(tl.load(largest_ptr), GRADIENT_BITS)
    for first in range(0, width, BLOCK):
        column = first + tl.arange(0, BLOCK)
        is_inside = (column < width) & (source >= 0)
        total = tl.load(sum_ptr + row * width + column, mask=is_inside, other=0.0) * scale
        out = total.to(out_ptr.dtype.element_ty)
        tl.store(out_ptr + source * width + column, out, mask=is_inside)


@triton.jit
def factor_kernel(
    longest_r_ptr, longest_w_ptr, factor_ptr, factor_t2i, factor_i2t, floor,
    SCALED: tl.constexpr, PLAIN: tl.constexpr,
) -> None:  # fmt: skip
    """Two temperatures and the floor of norms `[3]`, for logits of the scaled nodes; grid (1,)."""
    scale = 1.0
    if SCALED:
        scale = power_of_two(tl.load(longest_r_ptr), 0) * power_of_two(tl.load(longest_w_ptr), 0)
    tl.store(factor_ptr, factor_t2i / scale if PLAIN else factor_t2i)
    tl.store(factor_ptr + 1, factor_i2t / scale if PLAIN else factor_i2t)
    tl.store(factor_ptr + 2, floor * scale)
