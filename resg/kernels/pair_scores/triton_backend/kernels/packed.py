"""Score kernel for half precision: several images at once against several captions at once.

A tile is one run of images (up to `R` regions of whole images) against one run of captions (up to
`W` words of whole captions), C owners of either at most. Every sum over an owner's nodes is a
product with its 0/1 matrix `member [nodes, C]`, and every spreading of an owner's number over its
nodes the product with its transpose, so that the tile is full whatever the counts.

Logits of nodes of length 1 at most are clipped and divided by their norm, so x lies in [-1, 1] and
needs no maximum subtracted: exponentials are shifted so that the largest fits float16. Attention
and its product with S stay there; the squared length of the attended vector, which has twice the
range, is summed in `WIDE`, which has the range of float32.
"""

# No postponed annotations here: tl.constexpr must be seen as what it is.
# ruff: noqa: ANN001, ANN202
# pyright: reportGeneralTypeIssues=false, reportArgumentType=false
import triton
import triton.language as tl

TINY = tl.constexpr(1e-30)
LEAK = tl.constexpr(0.1)
SPREAD = tl.constexpr(64.0)  # logits times this, squared, use float16's range well
LARGEST = tl.constexpr(60000.0)  # of float16, with room for rounding
LSE_SHIFT = tl.constexpr(64.0)  # exponents of pooled cosines (base 2) stay inside float32


@triton.jit
def _strengths(S, member, factor, DOT: tl.constexpr):
    """The factor over the norm of the clipped logits over each owner's nodes: `[rows of S, C]`."""
    L = tl.maximum(S, (S * LEAK).to(DOT))
    L = (L * SPREAD).to(DOT)
    square = tl.dot(L * L, member)
    strength = tl.rsqrt(tl.maximum(square, TINY)) * (SPREAD * factor)
    return tl.minimum(strength, LARGEST).to(DOT)


@triton.jit
def _cosines(
    S, strength, gram, member, inv_length, shift, DOT: tl.constexpr, WIDE: tl.constexpr
):  # fmt: skip
    """Cosine of each row's node with what it attends to, by owner of the columns: `[rows, C]`."""
    L = tl.maximum(S, (S * LEAK).to(DOT))
    power = tl.exp2(L.to(tl.float32) * strength + shift)
    E = power.to(DOT)
    attended = tl.dot(E, gram)
    along = tl.dot(E * S, member)
    square = tl.dot(power.to(WIDE) * attended.to(WIDE), member.to(WIDE))
    return along * tl.rsqrt(tl.maximum(square, TINY)) * inv_length[:, None]


@triton.jit
def _pooled(
    cosine, member, inv_count, lambda_lse, LSE: tl.constexpr, DOT: tl.constexpr, WIDE: tl.constexpr
):  # fmt: skip
    """Mean or log-sum-exp of the rows' cosines, by owner: `[C, C]`; lambda_lse in base 2."""
    if LSE:
        power = tl.exp2(lambda_lse * (cosine - 1.0) + LSE_SHIFT)
        total = tl.dot(tl.trans(member).to(WIDE), power.to(WIDE))
        return 1.0 + (tl.log2(tl.maximum(total, TINY)) - LSE_SHIFT) / lambda_lse
    return tl.dot(tl.trans(member), (cosine * inv_count[:, None]).to(DOT))


@triton.jit(do_not_specialize=["num_runs", "out_stride"])
def packed_score_kernel(
    S_ptr, start_r_ptr, slot_r_ptr, owner_r_ptr, gram_r_ptr, inv_r_ptr, count_r_ptr,
    slot_w_ptr, owner_w_ptr, gram_w_ptr, inv_w_ptr, count_w_ptr, out_ptr,
    num_runs, row_stride, out_stride, first_row,
    factor_t2i, factor_i2t, shift_t2i, shift_i2t, lambda_lse, weight,
    R: tl.constexpr, W: tl.constexpr, C: tl.constexpr, RUNS: tl.constexpr,
    T2I: tl.constexpr, I2T: tl.constexpr, LSE: tl.constexpr, ADD: tl.constexpr,
    DOT: tl.constexpr, WIDE: tl.constexpr,
) -> None:  # fmt: skip
    """Scores of one run of images with RUNS of captions; grid (ceil(num_runs / RUNS), image runs).

    S `[rows, row_stride]`: row 0 is row `first_row` of the packed regions, where a run's rows begin
    at `start_r[run]`. slot `[runs, R or W]` which of its run's owners a node belongs to, -1 for
    padding; owner `[runs, C]` the row or column of `out`, -1 for none; gram `[runs, nodes, nodes]`
    with zeros between owners; inv one over the nodes' lengths; count one over the number of their
    owner's nodes. Scores are multiplied with `weight` and, where ADD, added to what `out` holds.
    """
    image_run = tl.program_id(1)
    r = tl.arange(0, R)
    w = tl.arange(0, W)
    c = tl.arange(0, C)
    slot_r = tl.load(slot_r_ptr + image_run * R + r)
    owner_r = tl.load(owner_r_ptr + image_run * C + c)
    inv_count_r = tl.load(count_r_ptr + image_run * R + r)
    row = tl.load(start_r_ptr + image_run) + r
    inv_r = tl.load(inv_r_ptr + row, mask=slot_r >= 0, other=0.0)
    member_r = (slot_r[:, None] == c[None, :]).to(DOT)
    gram_r = tl.load(gram_r_ptr + image_run.to(tl.int64) * R * R + r[:, None] * R + r[None, :])
    rows = S_ptr + (row - first_row).to(tl.int64)[:, None] * row_stride
    first = tl.program_id(0) * RUNS
    for run in range(first, tl.minimum(first + RUNS, num_runs)):
        is_region = (slot_r >= 0)[:, None]
        S_rw = tl.load(rows + (run * W + w)[None, :], mask=is_region, other=0.0)
        slot_w = tl.load(slot_w_ptr + run * W + w)
        owner_w = tl.load(owner_w_ptr + run * C + c)
        inv_w = tl.load(inv_w_ptr + run * W + w)
        inv_count_w = tl.load(count_w_ptr + run * W + w)
        member_w = (slot_w[:, None] == c[None, :]).to(DOT)
        S_wr = tl.trans(S_rw)
        score = tl.zeros([C, C], dtype=tl.float32)
        if T2I:
            strength = _strengths(S_rw, member_w, factor_t2i, DOT)
            strength = tl.dot(member_w, tl.trans(strength))
            cosine = _cosines(S_wr, strength, gram_r, member_r, inv_w, shift_t2i, DOT, WIDE)
            score += tl.trans(_pooled(cosine, member_w, inv_count_w, lambda_lse, LSE, DOT, WIDE))
        if I2T:
            gram_w = tl.load(gram_w_ptr + run * W * W + w[:, None] * W + w[None, :])
            strength = _strengths(S_wr, member_r, factor_i2t, DOT)
            strength = tl.dot(member_r, tl.trans(strength))
            cosine = _cosines(S_rw, strength, gram_w, member_w, inv_r, shift_i2t, DOT, WIDE)
            score += _pooled(cosine, member_r, inv_count_r, lambda_lse, LSE, DOT, WIDE)
        place = out_ptr + owner_r.to(tl.int64)[:, None] * out_stride + owner_w[None, :]
        is_pair = (owner_r >= 0)[:, None] & (owner_w >= 0)[None, :]
        score *= weight
        if ADD:
            score += tl.load(place, mask=is_pair, other=0.0)
        tl.store(place, score, mask=is_pair)
