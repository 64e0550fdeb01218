"""Boxes of a whole batch at once: overlap, samples, and regressions there and back.

B images, N boxes, G true boxes of an image (padded), K rows chosen.
"""

import torch
from torch import Tensor

OBJECT, BACKGROUND, IGNORED = 1, 0, -1

SUPPRESSION_ROUNDS = 16
"""More than the chains of some hundred proposals had in any picture seen."""


def pairwise_iou(first_BN4: Tensor, second_BG4: Tensor) -> Tensor:
    """`[B, N, G]` IoU of corners; 0 where a box has no area."""
    first, second = first_BN4[:, :, None], second_BG4[:, None]
    corner = torch.maximum(first[..., :2], second[..., :2])
    sides = (torch.minimum(first[..., 2:], second[..., 2:]) - corner).clamp(min=0)
    shared = sides[..., 0] * sides[..., 1]  # a reduction over two numbers is slow
    area = (first[..., 2:] - first[..., :2]).clamp(min=0).prod(-1)
    other = (second[..., 2:] - second[..., :2]).clamp(min=0).prod(-1)
    return shared / (area + other - shared).clamp(min=1e-6)


def survivors(boxes_BN4: Tensor, most_iou: float, rounds: int = SUPPRESSION_ROUNDS) -> Tensor:
    """`[B, N]` which boxes greedy suppression keeps; boxes come best first.

    All images at once: a box falls if a better one that stands overlaps it. Each round settles one
    more link of a chain of boxes that suppress one another, so `rounds` of the longest chain's
    length give the greedy result exactly.
    """
    overlaps_BNN = (pairwise_iou(boxes_BN4, boxes_BN4) > most_iou).tril(-1).half()
    stands_BN1 = torch.ones_like(overlaps_BNN[:, :, :1])
    for _ in range(rounds):
        stands_BN1 = (overlaps_BNN @ stands_BN1 == 0).half()
    return stands_BN1[..., 0] > 0


def sample(kind_BN: Tensor, count: int, share: float) -> Tensor:
    """`[B, N]` a random choice of at most `count`, of which at most a `share` are objects."""
    random = torch.rand(kind_BN.shape, device=kind_BN.device)
    objects = _first(random, kind_BN == OBJECT, torch.full_like(kind_BN[:, 0], int(count * share)))
    return objects | _first(random, kind_BN == BACKGROUND, count - objects.sum(1))


def _first(random_BN: Tensor, is_open_BN: Tensor, count_B: Tensor) -> Tensor:
    """The `count` open ones of each row with the largest random number."""
    rank_BN = random_BN.masked_fill(~is_open_BN, -1).argsort(1, descending=True).argsort(1)
    return is_open_BN & (rank_BN < count_B[:, None])


def encode(boxes: Tensor, targets: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Corrections that lead from boxes to targets (Ren et al. 2015, eq. 2), times the weights."""
    (x, y, w, h), (tx, ty, tw, th) = _centres(boxes), _centres(targets)
    wx, wy, ww, wh = weights
    parts = (wx * (tx - x) / w, wy * (ty - y) / h, ww * (tw / w).log(), wh * (th / h).log())
    return torch.stack(parts, -1)


def decode(boxes: Tensor, corrections: Tensor, weights: tuple[float, ...]) -> Tensor:
    """The boxes that corrections lead to; the inverse of `encode`."""
    x, y, w, h = _centres(boxes)
    dx, dy, dw, dh = (corrections / corrections.new_tensor(weights)).unbind(-1)
    # as torchvision: a side grows by a factor of at most 62
    w, h, x, y = (
        w * dw.clamp(max=4.135).exp(),
        h * dh.clamp(max=4.135).exp(),
        x + dx * w,
        y + dy * h,
    )
    return torch.stack((x - w / 2, y - h / 2, x + w / 2, y + h / 2), -1)


def clip(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Corners moved into an image of height and width."""
    height, width = size
    edge = boxes.new_tensor([width, height, width, height])
    return torch.minimum(boxes.clamp(min=0), edge)


def _centres(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    sides = (boxes[..., 2:] - boxes[..., :2]).clamp(min=1e-2)
    centre = boxes[..., :2] + sides / 2
    return centre[..., 0], centre[..., 1], sides[..., 0], sides[..., 1]


def take(values_BNX: Tensor, rows_BK: Tensor) -> Tensor:
    """`[B, K, X]` rows of each image."""
    return values_BNX.gather(1, rows_BK[..., None].expand(-1, -1, values_BNX.shape[-1]))
