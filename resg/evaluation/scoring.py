"""Scores of all images of a split with all its captions, each encoded once.

I images, C captions.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from resg.data.tables import CaptionTable, ImageTable
from resg.models.encoded import Encoded
from resg.models.matcher import Matcher
from resg.transfer import to_device


@torch.inference_mode()
def score_matrix(
    matcher: Matcher,
    images: ImageTable,
    captions: CaptionTable,
    device: torch.device,
    batch_size: int = 256,
    block_images: int = 1000,
) -> NDArray[np.float32]:
    """`[I, C]` scores of all images with all captions of a split; each is encoded once.

    Args:
        matcher: the model; it is put into evaluation mode and back.
        images: I images.
        captions: C captions.
        device: where the model is.
        batch_size: images or captions encoded at a time.
        block_images: images scored at a time against all captions.
    """
    was_training = matcher.training
    matcher.eval()
    try:
        encoded_images = encode_images(matcher, images, device, batch_size)
        encoded_captions = encode_captions(matcher, captions, device, batch_size)
        blocks = [
            matcher.score(
                encoded_images.rows(start, min(start + block_images, len(images))),
                encoded_captions,
            ).cpu()
            for start in range(0, len(images), block_images)
        ]
    finally:
        matcher.train(was_training)
    return torch.cat(blocks).numpy()


def encode_images(
    matcher: Matcher, images: ImageTable, device: torch.device, batch_size: int = 256
) -> Encoded:
    """All images of a table, encoded batch by batch."""
    return Encoded.cat(
        [
            matcher.encode_images(to_device(images.batch(rows), device))
            for rows in torch.arange(len(images)).split(batch_size)
        ]
    )


def encode_captions(
    matcher: Matcher, captions: CaptionTable, device: torch.device, batch_size: int = 256
) -> Encoded:
    """All captions of a table, encoded batch by batch."""
    return Encoded.cat(
        [
            matcher.encode_captions(to_device(captions.batch(rows, rows), device))
            for rows in torch.arange(len(captions)).split(batch_size)
        ]
    )


def image_of_caption(captions: CaptionTable) -> NDArray[np.int64]:
    """`[C]` row of each caption's image."""
    return captions.image.numpy()
