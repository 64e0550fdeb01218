"""In which order training visits captions: an image at most once a batch, any run repeatable.

C captions, B batch size.
"""

import torch
from torch import Tensor


def epoch_batches(
    image_of_caption_C: Tensor, batch_size: int, seed: int, epoch: int
) -> list[Tensor]:
    """The batches of an epoch, each `[<= B]` caption numbers; every caption comes once.

    An epoch is passes over the images, each with another caption of every image, so that no batch
    holds two captions of one image. Only the end of a pass may be a smaller batch; one of a single
    caption, which has no negative, joins the batch before it.

    Args:
        image_of_caption_C: `[C]` row of each caption's image.
        batch_size: B.
        seed: of the run.
        epoch: number of the epoch; seed and epoch alone decide the order.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    shuffled_C = torch.randperm(len(image_of_caption_C), generator=generator)
    by_image_C = shuffled_C[image_of_caption_C[shuffled_C].argsort(stable=True)]
    image_C = image_of_caption_C[by_image_C]
    _, counts = image_C.unique_consecutive(return_counts=True)
    first_C = (counts.cumsum(0) - counts).repeat_interleave(counts)
    pass_C = torch.arange(len(by_image_C)) - first_C
    batches: list[Tensor] = []
    for number in range(int(counts.max())):
        chosen = by_image_C[pass_C == number]
        chosen = chosen[torch.randperm(len(chosen), generator=generator)]
        own = list(chosen.split(batch_size))
        if len(own) > 1 and len(own[-1]) == 1:
            own[-2:] = [torch.cat(own[-2:])]
        batches += own
    return batches
