"""Which pairs form a batch: every caption once an epoch, an image in one pair or a few of them.

C captions, B batch size, I images, d width, K neighbours.
"""

import numpy as np
import torch
from torch import Tensor

from resg.graphs.ragged import gather_groups, offsets

NEIGHBOURS = 4
BLOCK = 4096


class PairSampler:
    """Draws the batches of each epoch, for all processes alike.

    With `hard_batches`, from the second epoch on an image shares its batch with one that the model
    found similar when it last saw both, so that the hardest negatives of a small batch are hard.

    Args:
        image_of_caption: `[C]` row of each caption's image.
        num_images: I.
        width: d, of the embeddings.
        batch_size: B.
        seed: of the run; seed, epoch and embeddings alone decide the order.
        hard_batches: put similar images into one batch.
        captions_per_image: pairs of an image in a batch.
        num_processes: how many share a batch.
        device: where the embeddings are kept.
    """

    def __init__(
        self,
        image_of_caption: Tensor,
        num_images: int,
        width: int,
        *,
        batch_size: int,
        seed: int,
        hard_batches: bool,
        captions_per_image: int = 1,
        num_processes: int = 1,
        device: torch.device | None = None,
    ) -> None:
        self.image_of_caption = image_of_caption
        self.batch_size = batch_size
        self.seed = seed
        self.hard_batches = hard_batches
        self.captions_per_image = captions_per_image
        self.num_processes = num_processes
        self.recent_Id = torch.zeros(num_images, width, dtype=torch.float16, device=device)

    def batches(self, epoch: int) -> list[Tensor]:
        """The batches of an epoch, each `[<= B]` rows of captions."""
        is_hard = self.hard_batches and epoch > 0
        return epoch_batches(
            self.image_of_caption,
            self.batch_size,
            self.seed,
            epoch,
            nearest_images(self.recent_Id.float()) if is_hard else None,
            self.num_processes,
            self.captions_per_image,
        )

    def shares(self, captions: Tensor) -> tuple[Tensor, ...]:
        """Each process's share of a batch."""
        return captions.tensor_split(self.num_processes)

    def random(self, epoch: int, batch_index: int, rank: int) -> torch.Generator:
        """Random numbers of one process for one batch, the same after a resume."""
        return seeded_generator(self.seed, epoch, batch_index, rank)

    def remember(self, image_rows: Tensor, embeddings_Bd: Tensor) -> None:
        """Keep the embeddings of a batch of images, of unit length, to find similar images by."""
        # of several pairs of an image the first: which of them would be written last is open
        first_B = (image_rows[:, None] == image_rows).int().argmax(1)
        self.recent_Id[image_rows] = embeddings_Bd.detach()[first_B].half()

    def state_dict(self) -> dict[str, Tensor]:
        """What resuming needs."""
        return {"recent_embeddings": self.recent_Id}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what `state_dict` gave."""
        self.recent_Id.copy_(state["recent_embeddings"])


def seeded_generator(*seeds: int) -> torch.Generator:
    """Random numbers that depend on these seeds alone."""
    state = np.random.SeedSequence(seeds).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


def epoch_batches(
    image_of_caption_C: Tensor,
    batch_size: int,
    seed: int,
    epoch: int,
    neighbours_IK: Tensor | None = None,
    num_processes: int = 1,
    captions_per_image: int = 1,
) -> list[Tensor]:
    """The batches of an epoch, each `[<= B]` rows of captions; every caption comes once.

    An epoch is passes over the images, each with another caption of every image (or several, side
    by side), so that no batch holds more captions of one image. Only the end of a pass may be a
    smaller batch; one of a single caption, which has no negative, or of fewer captions than
    processes joins the batch before it. Where there is none before it, too few captions for all
    processes are left out of the epoch.

    Args:
        image_of_caption_C: `[C]` row of each caption's image.
        batch_size: B.
        seed: of the run.
        epoch: index of the epoch; seed and epoch (and neighbours) alone decide the order.
        neighbours_IK: `[I, K]` for each image those that are hard to tell from it; an image then
            shares its batch with the first of them that is still free.
        num_processes: how many share a batch; each needs a part of it.
        captions_per_image: in a pass.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    shuffled_C = torch.randperm(len(image_of_caption_C), generator=generator)
    by_image_C = shuffled_C[image_of_caption_C[shuffled_C].argsort(stable=True)]
    image_C = image_of_caption_C[by_image_C]
    _, counts = image_C.unique_consecutive(return_counts=True)
    first_C = (counts.cumsum(0) - counts).repeat_interleave(counts)
    pass_C = torch.arange(len(by_image_C)) - first_C
    batches: list[Tensor] = []
    pass_C = pass_C // captions_per_image
    for index in range(int(pass_C.max()) + 1):
        chosen = by_image_C[pass_C == index]
        images, counts = image_of_caption_C[chosen].unique_consecutive(return_counts=True)
        order = torch.randperm(len(images), generator=generator)
        if neighbours_IK is not None:
            order = order[_side_by_side(images[order], neighbours_IK)]
        rows, _ = gather_groups(offsets(counts), order)
        own = list(chosen[rows].split(batch_size))
        if len(own) > 1 and len(own[-1]) < max(2, num_processes):
            own[-2:] = [torch.cat(own[-2:])]
        batches += [batch for batch in own if len(batch) >= num_processes]
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
        scores[rows, rows + start] = -2  # below any cosine: the image itself comes last
        nearest.append(scores.topk(count, dim=1).indices[:, : count - 1])
    return torch.cat(nearest).cpu()


def _side_by_side(images: Tensor, neighbours_IK: Tensor) -> Tensor:
    """`[N]` an order of these images in which each free one is followed by a free neighbour."""
    place = {image: index for index, image in enumerate(images.tolist())}
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
