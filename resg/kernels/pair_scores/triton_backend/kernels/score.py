"""Score kernel of pair scores: from a tile of the product S to scores.

A tile is one image against one run: up to `W` words of whole captions, packed without gaps.
R region rows (power of two, masked), W words of a run, C caption slots of a run.

S is in memory once and read in both orientations, `[W, R]` where words attend and `[R, W]` where
regions do, so that each contraction runs along the fast axis of its tile. Sums over a caption's
words are products with 0/1 matrices: `same[w, w']` (same caption) gives the sum to every word,
`member[w, c]` to the caption.

Half precision runs on nodes scaled to length at most 1, with exponentials shifted into float16's
range; a cosine does not change with the length of what it compares, so neither shows in the result.
"""

# No postponed annotations here: tl.constexpr must be seen as what it is.
# ruff: noqa: ANN001, ANN202, SIM300
# pyright: reportGeneralTypeIssues=false
import triton
import triton.language as tl

TINY = tl.constexpr(1e-30)
LEAK = tl.constexpr(0.1)
NEVER = tl.constexpr(-1e30)  # exponent of what is masked; infinity less infinity would be NaN


@triton.jit
def _leaky(S, CLIPPED: tl.constexpr):
    return tl.maximum(S, S * LEAK) if CLIPPED else S


@triton.jit
def _inverse_norm(square, floor, DOT: tl.constexpr):
    """One over the norm of logits, with the published floor where float32 can show it."""
    if DOT == tl.float32:
        return 1.0 / (tl.sqrt(square) + floor)
    return tl.rsqrt(square + TINY)


@triton.jit
def _run_matrices(slot, W: tl.constexpr, C: tl.constexpr, DOT: tl.constexpr):
    """`same [W, W]` and `member [W, C]` of a run; padding has slot -1 and belongs to nothing."""
    same = (slot[:, None] == slot[None, :]) & (slot >= 0)[:, None]
    member = slot[:, None] == tl.arange(0, C)[None, :]
    return same.to(DOT), member


@triton.jit
def _sum_captions(same, X, EXACT: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr):
    """Sum of X [W, R] over each caption's words, at every word of it; EXACT nearly to float32."""
    high = X.to(DOT)
    total = tl.dot(same, high, input_precision=PRECISION)
    if EXACT and DOT != tl.float32:
        total = tl.dot(same, (X - high.to(tl.float32)).to(DOT), total, input_precision=PRECISION)
    return total


@triton.jit
def _words_attend(
    S_wr, S_rw, same, gram, in_rows, factor, shift, floor,
    CLIPPED: tl.constexpr, SAFE: tl.constexpr, SQUARE: tl.constexpr, EXACT: tl.constexpr,
    DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Attention of words over regions: E [W, R], E G [W, R], 1 / norm [W, R], and eᵀs, eᵀGe [W]."""
    L = _leaky(S_wr, CLIPPED)
    inv_norm = L  # unused where logits are plain
    if CLIPPED:
        L_rw = _leaky(S_rw, CLIPPED)
        square = tl.trans(L_rw * L_rw * SQUARE)
        norm = _sum_captions(same, square, EXACT, DOT, PRECISION)
        inv_norm = _inverse_norm(norm * (1.0 / SQUARE), floor, DOT)
        x = (L * factor) * inv_norm
    else:
        x = L * factor
    x = tl.where(in_rows[None, :], x, NEVER)
    if SAFE:
        x = x - tl.max(x, 1)[:, None]
    E = tl.exp2(x + shift).to(DOT)
    attended = tl.dot(E, gram, input_precision=PRECISION)
    E = E.to(tl.float32)
    return E, attended, inv_norm, tl.sum(E * S_wr, 1), tl.sum(E * attended, 1)


@triton.jit
def _regions_attend(
    S_rw, inv_norm, gram, slot, factor, shift,
    C: tl.constexpr, CLIPPED: tl.constexpr, SAFE: tl.constexpr, DOT: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Attention of regions over each caption's words: E [R, W] and E H [R, W]; inv_norm is [W]."""
    x = _leaky(S_rw, CLIPPED) * factor
    if CLIPPED:
        x = x * inv_norm[None, :]
    if SAFE:
        largest = tl.zeros_like(x)
        for c in range(C):
            belongs = (slot == c)[None, :]
            of_caption = tl.max(tl.where(belongs, x, NEVER), 1)
            largest = tl.where(belongs, of_caption[:, None], largest)
        x = x - largest
    x = tl.where((slot >= 0)[None, :], x + shift, NEVER)
    E = tl.exp2(x).to(DOT)
    attended = tl.dot(E, gram, input_precision=PRECISION)
    return E.to(tl.float32), attended


@triton.jit
def _cosine(along, square, inv_length):
    return along * tl.rsqrt(tl.maximum(square, TINY)) * inv_length


@triton.jit
def _pool_words(cosine, member, lambda_lse, LSE: tl.constexpr):
    """Mean or log-sum-exp of the words' cosines `[W]` by caption: `[C]`; lambda_lse in base 2."""
    if LSE:
        largest = tl.max(tl.where(member, cosine[:, None], -2.0), 0)
        power = lambda_lse * (cosine[:, None] - largest[None, :])
        total = tl.sum(tl.exp2(tl.where(member, power, NEVER)), 0)
        return largest + tl.log2(tl.maximum(total, TINY)) / lambda_lse
    count = tl.maximum(tl.sum(member.to(tl.float32), 0), 1.0)
    return tl.sum(tl.where(member, cosine[:, None], 0.0), 0) / count


@triton.jit
def _pool_regions(cosine, in_rows, count, lambda_lse, LSE: tl.constexpr):
    """Mean or log-sum-exp of the regions' cosines `[R, C]` over regions: `[C]`."""
    if LSE:
        largest = tl.max(tl.where(in_rows[:, None], cosine, -2.0), 0)
        power = lambda_lse * (cosine - largest[None, :])
        total = tl.sum(tl.exp2(tl.where(in_rows[:, None], power, NEVER)), 0)
        return largest + tl.log2(tl.maximum(total, TINY)) / lambda_lse
    return tl.sum(tl.where(in_rows[:, None], cosine, 0.0), 0) / tl.maximum(count, 1)


@triton.jit(do_not_specialize=["num_images", "rows", "out_stride"])
def score_kernel(
    S_ptr, gram_r_ptr, gram_w_ptr, slot_ptr, caption_ptr, inv_r_ptr, inv_w_ptr,
    image_ptr, count_ptr, factor_ptr, out_ptr,
    num_images, rows, row_stride, out_stride, shift_t2i, shift_i2t, lambda_lse,
    R: tl.constexpr, W: tl.constexpr, C: tl.constexpr, IMAGES: tl.constexpr,
    T2I: tl.constexpr, I2T: tl.constexpr, CLIPPED: tl.constexpr, LSE: tl.constexpr,
    SAFE_T2I: tl.constexpr, SAFE_I2T: tl.constexpr, SQUARE: tl.constexpr, SPREAD: tl.constexpr,
    DOT: tl.constexpr, PRECISION: tl.constexpr,
) -> None:  # fmt: skip
    """Scores of one run's captions with IMAGES images; grid (runs, ceil(num_images / IMAGES)).

    S `[num_images * rows, row_stride]`, gram_r `[num_images, rows, rows]`, gram_w `[runs, W, W]`
    with zeros between captions, slot `[runs, W]`, caption `[runs, C]` (the column of out, or -1),
    inv_r and inv_w one over the nodes' lengths, image `[num_images]` the row of out, count
    `[num_images]` its regions, factor `[3]` the two temperatures in base 2 and the floor of norms,
    in units of the scaled nodes.
    """
    run = tl.program_id(0)
    first = tl.program_id(1) * IMAGES
    r = tl.arange(0, R)
    w = tl.arange(0, W)
    c = tl.arange(0, C)
    slot = tl.load(slot_ptr + run * W + w)
    caption = tl.load(caption_ptr + run * C + c)
    same, member = _run_matrices(slot, W, C, DOT)
    inv_w = tl.load(inv_w_ptr + run * W + w)
    factor_t2i = tl.load(factor_ptr)
    factor_i2t = tl.load(factor_ptr + 1)
    floor = tl.load(factor_ptr + 2)
    gram_w = same
    if I2T:
        gram_w = tl.load(gram_w_ptr + run * W * W + w[:, None] * W + w[None, :])
    for step in range(IMAGES):
        image = first + step
        is_image = image < num_images
        count = tl.load(count_ptr + image, mask=is_image, other=0)
        in_rows = r < count
        row = (image * rows + r).to(tl.int64) * row_stride
        column = run * W + w
        S_rw = tl.load(S_ptr + row[:, None] + column[None, :], mask=in_rows[:, None], other=0.0).to(
            tl.float32
        )
        S_wr = tl.load(S_ptr + row[None, :] + column[:, None], mask=in_rows[None, :], other=0.0).to(
            tl.float32
        )
        score = tl.zeros([C], dtype=tl.float32)
        if T2I:
            gram_r = tl.load(
                gram_r_ptr + image.to(tl.int64) * rows * rows + r[:, None] * rows + r[None, :],
                mask=in_rows[:, None] & in_rows[None, :], other=0.0,
            )  # fmt: skip
            _, _, _, along, square = _words_attend(
                S_wr, S_rw, same, gram_r, in_rows, factor_t2i, shift_t2i, floor,
                CLIPPED, SAFE_T2I, SQUARE, False, DOT, PRECISION,
            )  # fmt: skip
            score += _pool_words(_cosine(along, square, inv_w), member, lambda_lse, LSE)
        if I2T:
            L_wr = _leaky(S_wr, CLIPPED)
            inv_norm = _inverse_norm(tl.sum(L_wr * L_wr, 1), floor, DOT)
            E, attended = _regions_attend(
                S_rw, inv_norm, gram_w, slot, factor_i2t, shift_i2t,
                C, CLIPPED, SAFE_I2T, DOT, PRECISION,
            )  # fmt: skip
            members = member.to(DOT)
            along = tl.dot((E * S_rw).to(DOT), members, input_precision=PRECISION)
            square = tl.dot((E * attended * SPREAD).to(DOT), members, input_precision=PRECISION)
            inv_r = tl.load(inv_r_ptr + image * rows + r, mask=in_rows, other=0.0)
            cosine = _cosine(along, square * (1.0 / SPREAD), inv_r[:, None])
            score += _pool_regions(cosine, in_rows, count, lambda_lse, LSE)
        if T2I and I2T:
            score *= 0.5
        place = tl.load(image_ptr + image, mask=is_image, other=0).to(tl.int64) * out_stride
        tl.store(out_ptr + place + caption, score, mask=is_image & (caption >= 0))
