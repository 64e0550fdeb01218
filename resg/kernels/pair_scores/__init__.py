"""Scores of every image with every caption by stacked cross attention: see README.md."""

from collections.abc import Sequence

from torch import Tensor

from resg.kernels.dispatch import is_eager
from resg.kernels.pair_scores.backends import BACKENDS
from resg.kernels.pair_scores.checks import PairInputs, check_nodes, checked_tile_bytes
from resg.kernels.pair_scores.operators import EagerPairScores, pair_scores_operator
from resg.kernels.pair_scores.reference import reference_pair_scores
from resg.kernels.pair_scores.settings import Direction, Normalise, PairSettings, Pooling

__all__ = ["BACKENDS", "PairSettings", "pair_scores"]


def pair_scores(
    regions: Tensor,
    words: Tensor,
    region_ptr: Tensor,
    word_ptr: Tensor,
    *,
    direction: Direction = "both",
    temperatures: Sequence[float] = (9.0, 4.0),
    normalise: Normalise = "plain",
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
        normalise: `plain`: the softmax over the attended side sees the logits as they are;
            `clipped_l2`, as SCAN has it: they first pass LeakyReLU 0.1 and are divided by their
            norm over the attending side's nodes.
        pooling: `mean` of the attending nodes' cosines or their log-sum-exp, `lse`.
        lambda_lse: scale of the log-sum-exp.
        tile_bytes: memory of the tile of logits that is worked on at a time. It bounds memory and
            does not change scores beyond rounding.
        backend: `reference`, `torch`, `triton`, or `auto`: RESG_KERNELS where the environment has
            it, else Triton where it can run, else torch.

    Returns:
        `[images, captions]` float32 (float64 for float64 nodes). A pair whose image has no region
        or whose caption has no word scores 0.

    Raises:
        ValueError: shapes, types, devices, pointers, settings or backend do not fit.
    """
    settings = PairSettings(direction, (*temperatures,), normalise, pooling, lambda_lse)  # type: ignore[arg-type]
    check_nodes(regions, words, region_ptr, word_ptr)
    tile_bytes = checked_tile_bytes(tile_bytes, regions)
    backend = BACKENDS.choose(backend, regions.device.type, regions.dtype, regions.shape[1])
    if backend != "reference" and not is_eager(regions, words):
        return pair_scores_operator(
            regions, words, region_ptr, word_ptr, *settings.values(), tile_bytes, backend
        )
    inputs = PairInputs.checked(regions, words, region_ptr, word_ptr, settings, tile_bytes)
    if backend == "reference":
        return reference_pair_scores(inputs)
    return EagerPairScores.apply(regions, words, inputs, backend)  # type: ignore[return-value] - `apply` is untyped
