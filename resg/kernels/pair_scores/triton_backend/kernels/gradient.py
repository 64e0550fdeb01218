"""Gradient kernel of pair scores: from a tile of S and the scores' gradients to the gradient of S.

Letters and orientations as in `score_kernel`. With e the attention of a node up to a factor, s its
logits, G the other side's gram matrix, p = eᵀs and q = eᵀGe, the cosine is p / (|x| sqrt(q)), so

    d cos / d s = e / (|x| sqrt(q))                 (besides what e itself does)
    d cos / d e = (s - (p / q) G e) / (|x| sqrt(q))
    d cos / d G = -(cos / 2q) e eᵀ
    d cos / d x = -(cos / |x|²) x                   (of the length alone)

The last two sum over many tiles. Tiles write e / sqrt(q), that times its coefficient, and the
coefficient of x, and products outside add them up in a fixed order; so no atomics, and the same
bits every time.

A norm over one node alone leaves the logit's sign, up to the floor; its gradient is taken from the
floor, as the difference that gives it otherwise is lost in rounding.
"""

# ruff: noqa: ANN001, ANN202, SIM300
# pyright: reportGeneralTypeIssues=false
import triton
import triton.language as tl

from resg.kernels.pair_scores.triton_backend.kernels.nodes import GRADIENT_BITS, power_of_two
from resg.kernels.pair_scores.triton_backend.kernels.score import (
    LEAK,
    NEVER,
    TINY,
    _inverse_norm,
    _leaky,
    _pool_words,
    _regions_attend,
    _run_matrices,
    _sum_captions,
    _words_attend,
)

LN_2 = tl.constexpr(0.6931471805599453)
LARGEST = tl.constexpr(60000.0)  # of float16, with room for rounding


@triton.jit
def _inverse_root(square):
    """One over the square root, and 0 for vectors of no length, whose cosine does not move."""
    return tl.where(square > TINY, tl.rsqrt(tl.maximum(square, TINY)), 0.0)


@triton.jit
def _through_norm(
    grad_x, L, inv_norm, total, is_single, floor, strength, DOT: tl.constexpr
):  # fmt: skip
    """From the gradient of x = L / (norm + floor) to that of L; total is the sum of grad_x * x."""
    of_floor = tl.minimum(floor * inv_norm, 1.0 - 1e-6)  # floor / (norm + floor)
    across = L * inv_norm * total
    if DOT == tl.float32:
        across /= 1.0 - of_floor
    grad_L = tl.where(is_single, grad_x * of_floor, grad_x - across)
    return inv_norm * strength * grad_L


@triton.jit
def _words_gradient(
    S_wr, S_rw, same, member, gram, in_rows, inv_w, factor, shift, floor, lambda_lse,
    CLIPPED: tl.constexpr, LSE: tl.constexpr, SAFE: tl.constexpr, SQUARE: tl.constexpr,
    DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradient of S and unit attention [W, R]; coefficients of gram matrix and length [W]."""
    E, attended, inv_norm, along, square = _words_attend(
        S_wr,
        S_rw,
        same,
        gram,
        in_rows,
        factor,
        shift,
        floor,
        CLIPPED,
        SAFE,
        SQUARE,
        True,
        DOT,
        PRECISION,
    )
    inv_root = _inverse_root(square)
    along *= inv_root
    cosine = along * inv_w
    count = tl.sum(member.to(tl.float32), 0)[None, :]
    count = tl.sum(tl.where(member, count, 0.0), 1)
    if LSE:
        pooled = _pool_words(cosine, member, lambda_lse, LSE)
        pooled = tl.sum(tl.where(member, pooled[None, :], 0.0), 1)
        weight = tl.exp2(lambda_lse * (cosine - pooled))
    else:
        weight = 1.0 / tl.maximum(count, 1.0)
    E *= inv_root[:, None]
    direct = (weight * inv_w)[:, None] * E
    grad_x = direct * (S_wr - (along * inv_root)[:, None] * attended)
    length = weight * cosine
    strength = factor * LN_2
    if CLIPPED:
        L = _leaky(S_wr, CLIPPED)
        total = grad_x * L * inv_norm * SQUARE
        total = _sum_captions(same, total, True, DOT, PRECISION) * (1.0 / SQUARE)
        is_single = (count < 1.5)[:, None]
        grad_L = _through_norm(grad_x, L, inv_norm, total, is_single, floor, strength, DOT)
        grad_S = direct + tl.where(S_wr > 0, grad_L, grad_L * LEAK)
    else:
        grad_S = direct + grad_x * strength
    return grad_S, E, -length, length


@triton.jit
def _regions_gradient(
    S_rw, inv_norm, same, gram, slot, in_rows, count, inv_r, factor, shift, floor, lambda_lse,
    C: tl.constexpr, CLIPPED: tl.constexpr, LSE: tl.constexpr, SAFE: tl.constexpr,
    SPREAD: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradient of S, unit attention, coefficients of the gram matrix and the length, all [R, W]."""
    E, attended = _regions_attend(
        S_rw, inv_norm, gram, slot, factor, shift, C, CLIPPED, SAFE, DOT, PRECISION
    )
    along = tl.dot((E * S_rw).to(DOT), same, input_precision=PRECISION)
    square = tl.dot((E * attended * SPREAD).to(DOT), same, input_precision=PRECISION)
    inv_root = _inverse_root(square * (1.0 / SPREAD))
    along *= inv_root
    cosine = along * inv_r[:, None]
    if LSE:
        largest = tl.max(tl.where(in_rows[:, None], cosine, -2.0), 0)
        power = lambda_lse * (cosine - largest[None, :])
        power = tl.exp2(tl.where(in_rows[:, None], power, NEVER))
        weight = power / tl.maximum(tl.sum(power, 0), TINY)[None, :]
    else:
        weight = tl.zeros_like(cosine) + 1.0 / count
    E *= inv_root
    direct = weight * inv_r[:, None] * E
    grad_x = direct * (S_rw - along * inv_root * attended)
    length = weight * cosine
    strength = factor * LN_2
    if CLIPPED:
        L = _leaky(S_rw, CLIPPED)
        inv_norm = inv_norm[None, :]
        total = tl.sum(grad_x * L * inv_norm, 0)[None, :]
        grad_L = _through_norm(grad_x, L, inv_norm, total, count == 1, floor, strength, DOT)
        grad_S = direct + tl.where(S_rw > 0, grad_L, grad_L * LEAK)
    else:
        grad_S = direct + grad_x * strength
    return grad_S, E, -length, length


@triton.jit(do_not_specialize=["rows", "grad_stride", "num_runs"])
def gradient_kernel(
    S_ptr, gram_r_ptr, gram_w_ptr, slot_ptr, caption_ptr, inv_r_ptr, inv_w_ptr,
    image_ptr, count_ptr, factor_ptr, grad_ptr, largest_ptr,
    grad_S_ptr, E_t2i_ptr, E_t2i_scaled_ptr, E_i2t_ptr, E_i2t_scaled_ptr,
    length_w_ptr, length_r_ptr,
    rows, row_stride, grad_stride, num_runs, shift_t2i, shift_i2t, lambda_lse,
    R: tl.constexpr, W: tl.constexpr, C: tl.constexpr,
    T2I: tl.constexpr, I2T: tl.constexpr, CLIPPED: tl.constexpr, LSE: tl.constexpr,
    SAFE_T2I: tl.constexpr, SAFE_I2T: tl.constexpr, SQUARE: tl.constexpr, SPREAD: tl.constexpr,
    DOT: tl.constexpr, PRECISION: tl.constexpr,
) -> None:  # fmt: skip
    """One image with one run; grid (runs, images). Inputs as in `score_kernel`.

    In half precision the scores' gradients are scaled so that the largest, at `largest`, fits.
    grad_S and the four E are laid out as S; length_w `[images, row_stride]` and length_r
    `[images * rows, num_runs]` are float32. Rows of no region and columns of no word get zeros.
    """
    run = tl.program_id(0)
    image = tl.program_id(1)
    r = tl.arange(0, R)
    w = tl.arange(0, W)
    c = tl.arange(0, C)
    slot = tl.load(slot_ptr + run * W + w)
    caption = tl.load(caption_ptr + run * C + c)
    same, member = _run_matrices(slot, W, C, DOT)
    floor = tl.load(factor_ptr + 2)
    count = tl.load(count_ptr + image)
    in_rows = r < count
    of_image = r < rows
    row = (image * rows + r).to(tl.int64)
    column = run * W + w
    place = row[:, None] * row_stride + column[None, :]
    S_rw = tl.load(S_ptr + place, mask=in_rows[:, None], other=0.0).to(tl.float32)
    S_wr = tl.trans(S_rw)
    grad_row = tl.load(image_ptr + image).to(tl.int64) * grad_stride
    grad = tl.load(grad_ptr + grad_row + caption, mask=caption >= 0, other=0.0).to(tl.float32)
    if DOT == tl.float16:
        grad *= power_of_two(tl.load(largest_ptr), GRADIENT_BITS)
    if T2I and I2T:
        grad *= 0.5
    grad = tl.sum(tl.where(member, grad[None, :], 0.0), 1)  # [W], each word its caption's
    grad_S = tl.zeros([R, W], dtype=tl.float32)
    if T2I:
        gram_r = tl.load(
            gram_r_ptr + image.to(tl.int64) * rows * rows + r[:, None] * rows + r[None, :],
            mask=in_rows[:, None] & in_rows[None, :], other=0.0,
        )  # fmt: skip
        inv_w = tl.load(inv_w_ptr + run * W + w)
        grad_wr, E, coefficient, length = _words_gradient(
            S_wr, S_rw, same, member, gram_r, in_rows, inv_w,
            tl.load(factor_ptr), shift_t2i, floor, lambda_lse,
            CLIPPED, LSE, SAFE_T2I, SQUARE, DOT, PRECISION,
        )  # fmt: skip
        grad_S += tl.trans(grad_wr)
        E_rw = tl.trans(E)
        scaled = E_rw * (coefficient * grad)[None, :]
        tl.store(E_t2i_ptr + place, E_rw, mask=of_image[:, None])
        tl.store(E_t2i_scaled_ptr + place, scaled, mask=of_image[:, None])
        tl.store(length_w_ptr + image.to(tl.int64) * row_stride + column, length * grad)
    if I2T:
        gram_w = tl.load(gram_w_ptr + run * W * W + w[:, None] * W + w[None, :])
        inv_r = tl.load(inv_r_ptr + row, mask=in_rows, other=0.0)
        L_rw = _leaky(S_rw, CLIPPED)
        inv_norm = _inverse_norm(tl.sum(L_rw * L_rw, 0), floor, DOT)
        grad_rw, E, coefficient, length = _regions_gradient(
            S_rw, inv_norm, same, gram_w, slot, in_rows, count, inv_r,
            tl.load(factor_ptr + 1), shift_i2t, floor, lambda_lse,
            C, CLIPPED, LSE, SAFE_I2T, SPREAD, DOT, PRECISION,
        )  # fmt: skip
        grad_S += grad_rw
        scaled = E * coefficient * grad[None, :]
        tl.store(E_i2t_ptr + place, E, mask=of_image[:, None])
        tl.store(E_i2t_scaled_ptr + place, scaled, mask=of_image[:, None])
        words_of_caption = tl.sum(member.to(tl.float32), 0)[None, :]
        words_of_caption = tl.sum(tl.where(member, words_of_caption, 0.0), 1)
        once = grad / tl.maximum(words_of_caption, 1.0)  # a caption's words hold its value each
        by_region = tl.sum(length * once[None, :], 1)
        tl.store(length_r_ptr + row * num_runs + run, by_region, mask=of_image)
    grad_S = tl.where(in_rows[:, None], grad_S * grad[None, :], 0.0)
    if DOT == tl.float16:
        grad_S = tl.minimum(tl.maximum(grad_S, -LARGEST), LARGEST)
    tl.store(grad_S_ptr + place, grad_S, mask=of_image[:, None])
