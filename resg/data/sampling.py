"""In which order training visits captions: an image at most once a batch, any run repeatable.

C captions, B batch size, I images, d width, K neighbours.
"""

import torch
from torch import Tensor

NEIGHBOURS = 4
BLOCK = 4096


def epoch_batches(
    image_of_caption_C: Tensor,
    batch_size: int,
    seed: int,
    epoch: int,
    neighbours_IK: Tensor | None = None,
    processes: int = 1,
) -> list[Tensor]:
    """The batches of an epoch, each `[<= B]` caption numbers; every caption comes once.

    An epoch is passes over the images, each with another caption of every image, so that no batch
    holds two captions of one image. Only the end of a pass may be a smaller batch; one of a single
    caption, which has no negative, or of fewer captions than processes joins the batch before it.
    Where none is before it, too few captions for all processes are left out of the epoch.

    Args:
        image_of_caption_C: `[C]` row of each caption's image.
        batch_size: B.
        seed: of the run.
        epoch: number of the epoch; seed and epoch (and neighbours) alone decide the order.
        neighbours_IK: `[I, K]` for each image those that are hard to tell from it; an image then
            shares its batch with the first of them that is still free.
        processes: among how many a batch is shared; each needs a part of it.
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
        if neighbours_IK is not None:
            chosen = chosen[_side_by_side(image_of_caption_C[chosen], neighbours_IK)]
        own = list(chosen.split(batch_size))
        if len(own) > 1 and len(own[-1]) < max(2, processes):
            own[-2:] = [torch.cat(own[-2:])]
        batches += [batch for batch in own if len(batch) >= processes]
    return batches


def nearest_images(embeddings_Id: Tensor) -> Tensor:
    """`[I, K]` the nearest other images of each by cosine, the nearest first, on the CPU.

    Args:
        embeddings_Id: unit length.
    """
    count = min(NEIGHBOURS + 1, len(embeddings_Id))
    nearest = []
    for start in range(0, len(embeddings_Id), BLOCK):
        scores = embeddings_Id[start : start + BLOCK] @ embeddings_Id.T
        rows = torch.arange(len(scores), device=scores.device)
        scores[rows, rows + start] = -2  # below any cosine: oneself comes last
        nearest.append(scores.topk(count, dim=1).indices[:, : count - 1])
    return torch.cat(nearest).cpu()


def _side_by_side(images: Tensor, neighbours_IK: Tensor) -> Tensor:
    """`[N]` an order of these images in which each free one is followed by a free neighbour."""
    place = {image: number for number, image in enumerate(images.tolist())}
    neighbours = neighbours_IK.tolist()
    order: list[int] = []
    for image in list(place):
        if image not in place:
            continue
        order.append(place.pop(image))
        beside = next((other for other in neighbours[image] if other in place), None)
        if beside is not None:
            order.append(place.pop(beside))
    return torch.tensor(order)
