"""Kernels over nodes: lay them out, multiply them with themselves, gather their gradients."""

# No postponed annotations here: tl.constexpr must be seen as what it is.
# ruff: noqa: ANN001, ANN201, ANN202
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


@triton.jit
def _length(nodes_ptr, row, node_stride, column_stride, width, BLOCK: tl.constexpr):
    square = tl.zeros([BLOCK], dtype=tl.float32)
    for first in range(0, width, BLOCK):
        column = first + tl.arange(0, BLOCK)
        place = nodes_ptr + row * node_stride + column.to(tl.int64) * column_stride
        node = tl.load(place, mask=column < width, other=0.0).to(tl.float32)
        square += node * node
    return tl.sqrt(tl.sum(square, 0))


@triton.jit(do_not_specialize=["num_regions", "width"])
def length_kernel(
    regions_ptr, words_ptr, length_ptr,
    region_stride, region_column_stride, word_stride, word_column_stride, num_regions, width,
    BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """Lengths of all regions, then of all words; grid (regions + words,)."""
    row = tl.program_id(0).to(tl.int64)
    if row < num_regions:
        length = _length(regions_ptr, row, region_stride, region_column_stride, width, BLOCK)
        tl.store(length_ptr + row, length)
    else:
        word = row - num_regions
        length = _length(words_ptr, word, word_stride, word_column_stride, width, BLOCK)
        tl.store(length_ptr + row, length)


@triton.jit(do_not_specialize=["longest", "width"])
def pack_kernel(
    nodes_ptr, source_ptr, scales_ptr, packed_ptr, inv_length_ptr,
    longest, node_stride, column_stride, width,
    SCALED: tl.constexpr, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """Copy node `source[row]` to `packed[row]`, zeros for source -1; grid (rows,).

    Where SCALED, by the power of two that brings the longest node, whose length is
    `scales[longest]`, to length 1 at most. inv_length gets one over the length of what was written,
    and 0 for a node without one, whose cosines are 0.
    """
    row = tl.program_id(0).to(tl.int64)
    source = tl.load(source_ptr + row).to(tl.int64)
    scale = 1.0
    if SCALED:
        scale = power_of_two(tl.load(scales_ptr + longest), 0)
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


@triton.jit
def _unscaled(scales_ptr, longest, largest_ptr, SCALED: tl.constexpr):
    """What undoes the scales of the nodes and of the scores' gradients."""
    scale = 1.0
    if SCALED:
        scale = power_of_two(tl.load(scales_ptr + longest), 0)
        scale /= power_of_two(tl.load(largest_ptr), GRADIENT_BITS)
    return scale


@triton.jit(do_not_specialize=["row_stride", "part_stride", "parts", "longest", "width"])
def gather_gradient_kernel(
    sum_ptr, through_S_ptr, through_gram_ptr, length_ptr, inv_length_ptr, packed_ptr,
    source_ptr, scales_ptr, largest_ptr, out_ptr,
    row_stride, part_stride, parts, longest, width,
    ONLY: tl.constexpr, GRAM: tl.constexpr, LENGTH: tl.constexpr, SCALED: tl.constexpr,
    BLOCK: tl.constexpr, PARTS: tl.constexpr,
) -> None:  # fmt: skip
    """Add up what one tile gives to its nodes' gradients; grid (rows,).

    The product with the gradient of S, that with the gradient of the gram matrix (GRAM), and, for
    nodes that attend (LENGTH), their own direction times the coefficient of their length, whose
    `parts` lie `part_stride` apart. Added to what `sum` holds; where the tile is the ONLY one,
    written to node `source[row]` of `out` instead, without the scales.
    """
    row = tl.program_id(0).to(tl.int64)
    coefficient = 0.0
    if LENGTH:
        total_length = tl.zeros([PARTS], dtype=tl.float32)
        for first in range(0, parts, PARTS):
            part = first + tl.arange(0, PARTS)
            place = length_ptr + row * row_stride + part.to(tl.int64) * part_stride
            total_length += tl.load(place, mask=part < parts, other=0.0)
        inverse = tl.load(inv_length_ptr + row)
        coefficient = tl.sum(total_length, 0) * inverse * inverse
    source = row
    scale = 1.0
    if ONLY:
        source = tl.load(source_ptr + row).to(tl.int64)
        scale = _unscaled(scales_ptr, longest, largest_ptr, SCALED)
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
        if ONLY:
            out = (total * scale).to(out_ptr.dtype.element_ty)
            tl.store(out_ptr + source * width + column, out, mask=is_inside & (source >= 0))
        else:
            total += tl.load(sum_ptr + place, mask=is_inside, other=0.0)
            tl.store(sum_ptr + place, total, mask=is_inside)


@triton.jit(do_not_specialize=["longest", "width"])
def unpack_kernel(
    sum_ptr, source_ptr, scales_ptr, largest_ptr, out_ptr, longest, width,
    SCALED: tl.constexpr, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """Bring row `row` of the sums back to node `source[row]`, without the scales; grid (rows,)."""
    row = tl.program_id(0).to(tl.int64)
    source = tl.load(source_ptr + row).to(tl.int64)
    scale = _unscaled(scales_ptr, longest, largest_ptr, SCALED)
    for first in range(0, width, BLOCK):
        column = first + tl.arange(0, BLOCK)
        is_inside = (column < width) & (source >= 0)
        total = tl.load(sum_ptr + row * width + column, mask=is_inside, other=0.0) * scale
        out = total.to(out_ptr.dtype.element_ty)
        tl.store(out_ptr + source * width + column, out, mask=is_inside)


@triton.jit
def _longest(length_ptr, first, last, BLOCK: tl.constexpr):
    longest = tl.zeros([BLOCK], dtype=tl.float32)
    for start in range(first, last, BLOCK):
        at = start + tl.arange(0, BLOCK)
        longest = tl.maximum(longest, tl.load(length_ptr + at, mask=at < last, other=0.0))
    return tl.max(longest, 0)


@triton.jit(do_not_specialize=["num_regions", "num_nodes"])
def scales_kernel(
    length_ptr, scales_ptr, num_regions, num_nodes, factor_t2i, factor_i2t, floor,
    SCALED: tl.constexpr, PLAIN: tl.constexpr, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """Two temperatures and the floor of norms, for logits of the scaled nodes; grid (1,).

    They are the first three of `scales [5]`; the last two are the lengths of the longest region and
    the longest word, from the lengths of all regions and then all words.
    """
    scale = 1.0
    if SCALED:
        longest_region = _longest(length_ptr, 0, num_regions, BLOCK)
        longest_word = _longest(length_ptr, num_regions, num_nodes, BLOCK)
        tl.store(scales_ptr + 3, longest_region)
        tl.store(scales_ptr + 4, longest_word)
        scale = power_of_two(longest_region, 0) * power_of_two(longest_word, 0)
    tl.store(scales_ptr, factor_t2i / scale if PLAIN else factor_t2i)
    tl.store(scales_ptr + 1, factor_i2t / scale if PLAIN else factor_i2t)
    tl.store(scales_ptr + 2, floor * scale)
