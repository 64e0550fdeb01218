"""What chance gives: the expected figures of random scores.

I images, C captions.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resg.evaluation.ranking import RECALLS


def chance_figures(image_of_caption_C: NDArray[np.integer[Any]], num_images: int) -> dict[str, Any]:
    """Expected Recall@K of random scores in both directions, in percent, and the median place.

    An image with n of the C captions finds one of its own among the first K with probability
    1 - (C - n choose K) / (C choose K); a caption finds its image with probability K / I.

    Args:
        image_of_caption_C: `[C]` row of each caption's image.
        num_images: I.

    Returns:
        `i2t` and `t2i`, each with `r1`, `r5`, `r10` and `medr`, and `rsum`.
    """
    found, median = {}, 0
    for place, share in enumerate(_found_by_place(image_of_caption_C, num_images), start=1):
        median = median or (place if share >= 0.5 else 0)
        if place in RECALLS:
            found[place] = 100 * share
        if median and place >= max(RECALLS):
            break
    i2t = {f"r{k}": found.get(k, 100.0) for k in RECALLS}
    t2i = {f"r{k}": 100 * min(1.0, k / num_images) for k in RECALLS}
    return {
        "i2t": {**i2t, "medr": float(median)},
        "t2i": {**t2i, "medr": (num_images + 1) / 2},
        "rsum": sum(i2t.values()) + sum(t2i.values()),
    }


def _found_by_place(
    image_of_caption_C: NDArray[np.integer[Any]], num_images: int
) -> Iterator[float]:
    """Share of images that find a caption of theirs among the first 1, 2, ... of C."""
    num_captions = len(image_of_caption_C)
    captions_I = np.bincount(image_of_caption_C, minlength=num_images)
    sizes, images = np.unique(captions_I, return_counts=True)
    missed = np.ones(len(sizes))
    for drawn in range(num_captions):
        missed *= np.maximum(num_captions - sizes - drawn, 0) / (num_captions - drawn)
        yield 1 - float(images @ missed) / num_images
