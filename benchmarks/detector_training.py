"""Time of each part of a training step of the photograph detector, and pictures per second.

python benchmarks/detector_training.py --device cuda --batch 32 64

Pictures are noise with random boxes: as costly as photographs, and no data set is needed.
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch.optim.swa_utils import AveragedModel

from pipeline.detectors.training.augmentation import batches
from pipeline.detectors.training.losses import DetectionLosses
from pipeline.detectors.training.network import build_network
from pipeline.detectors.training.pictures import PictureSet
from pipeline.detectors.training.settings import read_recipe
from pipeline.detectors.training.trainer import build_optimiser

PARTS = ("draw", "forward", "backward", "clip", "step", "average")


def synthetic_pictures(count: int, side: int, num_classes: int, num_words: int) -> PictureSet:
    """Noise with eight boxes in each picture, a quarter of them weak."""
    torch.manual_seed(0)
    corner = torch.rand(count, 8, 2) * 0.7
    boxes = torch.cat([corner, corner + 0.05 + torch.rand(count, 8, 2) * 0.25], 2)
    return PictureSet(
        classes=tuple(str(k) for k in range(num_classes)),
        vocabulary=tuple(str(k) for k in range(num_words)),
        pixels=torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8),
        boxes=boxes,
        labels=torch.randint(0, num_classes, (count, 8)),
        is_weak=torch.rand(count, 8) < 0.25,
        words=(torch.rand(count, num_words) < 0.02).byte(),
        has_words=torch.rand(count) < 0.5,
    )


def measure(device: torch.device, batch: int, steps: int, warmup: int) -> dict[str, float]:
    """Seconds of each part of a step, each waited for; the mean of the steps after the warmup."""
    recipe = read_recipe()
    pictures = synthetic_pictures(512, recipe.stored_side, 80, 800).to(device)
    network = build_network(80, recipe.network)
    model = DetectionLosses(network, len(pictures.vocabulary), recipe.losses).to(device).train()
    optimiser = build_optimiser(model, recipe.optimiser)
    average = AveragedModel(network)
    drawn = batches(pictures, recipe.augmentation, batch, torch.Generator().manual_seed(0))
    spent: dict[str, float] = dict.fromkeys(PARTS, 0.0)

    def timed(part: str, work: Callable[[], object]) -> object:
        if device.type == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        result = work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        spent[part] += time.perf_counter() - start
        return result

    def forward(given: object) -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            return torch.stack(list(model(given).values())).sum()

    for step in range(warmup + steps):
        if step == warmup:
            spent.update(dict.fromkeys(PARTS, 0.0))
        given = timed("draw", lambda: next(drawn))
        loss = timed("forward", lambda given=given: forward(given))
        optimiser.zero_grad()
        timed("backward", loss.backward)  # pyright: ignore[reportAttributeAccessIssue] - a tensor
        timed("clip", lambda: torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0))
        timed("step", optimiser.step)
        timed("average", lambda: average.update_parameters(network))
    return {part: seconds / steps for part, seconds in spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, nargs="+", default=[32])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=60)
    options = parser.parse_args()
    device = torch.device(options.device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    print(f"{name}, torch {torch.__version__}")
    for batch in options.batch:
        spent = measure(device, batch, options.steps, options.warmup)
        parts = ", ".join(f"{part} {1000 * seconds:.1f}" for part, seconds in spent.items())
        total = sum(spent.values())
        print(
            f"batch {batch}: {batch / total:.0f} pictures/s, {1000 * total:.1f} ms a step ({parts})"
        )


if __name__ == "__main__":
    main()
