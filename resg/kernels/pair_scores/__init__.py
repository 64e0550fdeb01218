"""How well does each image match each caption, node by node? One function, several backends."""

from collections.abc import Sequence

from torch import Tensor

from resg.kernels.dispatch import is_eager
from resg.kernels.pair_scores.backends import chosen_backend, default_tile_bytes
from resg.kernels.pair_scores.checks import check_nodes, check_pointer
from resg.kernels.pair_scores.operators import EagerPairScores, pair_scores_operator
from resg.kernels.pair_scores.reference import reference_pair_scores
from resg.kernels.pair_scores.settings import Direction, Normalise, PairSettings, Pooling

__all__ = ["PairSettings", "pair_scores"]


def pair_scores(
    regions: Tensor,
    words: Tensor,
    region_ptr: Tensor,
    word_ptr: Tensor,
    *,
    direction: Direction = "both",
    temperatures: Sequence[float] = (9.0, 4.0),
    normalise: Normalise = "clipped_l2",
    pooling: Pooling = "mean",
    lambda_lse: float = 6.0,
    tile_bytes: int | None = None,
    backend: str = "auto",
) -> Tensor:
    """Score every image with every caption by stacked cross attention (Lee et al. 2018).

    Words attend to the regions of the image (`t2i`), regions to the words of the caption (`i2t`);
    each attending node is compared by cosine with what it attends to, the cosines are pooled, and
    the two directions averaged. Differentiable in `regions` and `words`; the same inputs give the
    same bits.

    Args:
        regions: `[total regions, d]` nodes of all images, one image after another; float32,
            float16, bfloat16 or (not on Triton) float64.
        words: `[total words, d]` nodes of all captions, of the same type and on the same device.
        region_ptr: `[images + 1]` integers from 0 to total regions: image i owns the regions from
            `region_ptr[i]` up to `region_ptr[i + 1]`.
        word_ptr: `[captions + 1]`, the same for captions. Both pointers cost a copy to the host
            where they lie on the GPU.
        direction: `both`, `t2i` or `i2t`.
        temperatures: inverse softmax temperatures of attending words and of attending regions.
        normalise: `clipped_l2`: logits pass LeakyReLU 0.1 and are divided by their norm over the
            attending side's nodes, before the softmax over the attended side; `plain`: they are
            not.
        pooling: `mean` of the attending nodes' cosines or their log-sum-exp, `lse`.
        lambda_lse: scale of the log-sum-exp.
        tile_bytes: memory of the tile of logits that is worked on at a time. It bounds memory and
            does not change scores beyond rounding.
        backend: `auto` (Triton on NVIDIA GPUs, else torch; the environment's RESG_KERNELS goes
            first), `reference`, `torch` or `triton`.

    Returns:
        `[images, captions]` float32 (float64 for float64 nodes). A pair whose image has no region
        or whose caption has no word scores 0.

    Raises:
        ValueError: shapes, types, devices, pointers, settings or backend do not fit.
    """
    settings = PairSettings(direction, (*temperatures,), normalise, pooling, lambda_lse)  # type: ignore[arg-type]
    check_nodes(regions, words, region_ptr, word_ptr)
    backend = chosen_backend(backend, regions)
    if tile_bytes is None:
        tile_bytes = default_tile_bytes(regions)
    elif tile_bytes < 1:
        raise ValueError(f"tile_bytes is a number of bytes above 0, not {tile_bytes!r}")
    if backend == "reference":
        check_pointer("region_ptr", region_ptr.cpu(), regions)
        check_pointer("word_ptr", word_ptr.cpu(), words)
        return reference_pair_scores(regions, words, region_ptr, word_ptr, settings)
    if is_eager(regions, words):
        return EagerPairScores.apply(  # type: ignore[return-value] - `apply` is untyped
            regions, words, region_ptr, word_ptr, settings, tile_bytes, backend
        )
    return pair_scores_operator(
        regions, words, region_ptr, word_ptr, *settings.to_list(), tile_bytes, backend
    )
