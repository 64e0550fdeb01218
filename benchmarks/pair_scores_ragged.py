"""How long does a training step of pair_scores take on the CPU when node counts differ?

    OMP_NUM_THREADS=1 python benchmarks/pair_scores_ragged.py

64 images against 64 captions, forward and backward, beside the three matrix products of a step.
"""

import statistics
import time

import torch

from resg.kernels.pair_scores import pair_scores

OWNERS, ROUNDS = 64, 8
CASES = {  # least and most regions, least and most words, width
    "2 to 9 regions, 6 to 20 words, d 256": (2, 9, 6, 20, 256),
    "36 regions, 5 to 20 words, d 1024": (36, 36, 5, 20, 1024),
    "10 to 100 regions, 5 to 20 words, d 1024": (10, 100, 5, 20, 1024),
}


def seconds_of_step(counts: tuple[int, int, int, int, int]) -> tuple[list[float], list[float]]:
    """Seconds of every round's step, and of its products alone."""
    fewest_regions, most_regions, fewest_words, most_words, width = counts
    generator = torch.Generator().manual_seed(0)

    def side(fewest: int, most: int) -> tuple[torch.Tensor, torch.Tensor]:
        owned = torch.randint(fewest, most + 1, (OWNERS,), generator=generator)
        ptr = torch.cat((torch.zeros(1, dtype=torch.int64), owned.cumsum(0)))
        nodes = torch.randn(int(ptr[-1]), width, generator=generator)
        return torch.nn.functional.normalize(nodes, dim=1).requires_grad_(), ptr

    regions, region_ptr = side(fewest_regions, most_regions)
    words, word_ptr = side(fewest_words, most_words)
    grad = torch.randn(OWNERS, OWNERS, generator=generator)
    steps, products = [], []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        scores = pair_scores(regions, words, region_ptr, word_ptr, normalise="clipped_l2")
        torch.autograd.grad(scores, (regions, words), grad)
        middle = time.perf_counter()
        with torch.no_grad():
            S = regions @ words.T
            torch.mm(S, words)
            torch.mm(S.T, regions)
        steps.append(middle - begin)
        products.append(time.perf_counter() - middle)
    return steps, products


def main() -> None:
    for name, counts in CASES.items():
        steps, products = seconds_of_step(counts)
        print(
            f"{name}: step {statistics.median(steps) * 1e3:.1f} ms, fastest "
            f"{min(steps) * 1e3:.1f}; products {statistics.median(products) * 1e3:.1f} ms, "
            f"fastest {min(products) * 1e3:.1f}"
        )


if __name__ == "__main__":
    main()
