"""Train a detector of photographs, on one device or on several with torchrun.

torchrun --nproc-per-node 2 --no-python pipeline train-detector --config photos ...
"""

import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import torch
from safetensors.torch import save_file
from torch import Tensor, distributed, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pipeline.detectors.base import DetectorInfo
from pipeline.detectors.checkpoints import load_weights
from pipeline.detectors.resizing import ResizePolicy
from pipeline.detectors.training.augmentation import batches
from pipeline.detectors.training.backbone import load_imagenet_weights
from pipeline.detectors.training.losses import DetectionLosses
from pipeline.detectors.training.network import PIXEL_MEAN, PIXEL_STD, build_network
from pipeline.detectors.training.pictures import PictureSet
from pipeline.detectors.training.run_folder import WEIGHTS
from pipeline.detectors.training.settings import OptimiserSettings, TrainingRecipe

STATE, LOG = "state.pt", "log.jsonl"
LOG_EVERY, SAVE_EVERY = 50, 1000

AVERAGE_EVERY = 8
"""Steps between two updates of the average, an eighth of the operations that a step starts."""


@dataclass(frozen=True)
class Processes:
    """This process among those that torchrun started."""

    rank: int
    count: int
    device: torch.device

    @classmethod
    @contextmanager
    def join(cls, device: str) -> Iterator["Processes"]:
        """Join the others, where there are any, and leave them at the end."""
        rank, count = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        place = torch.device(device)
        if place.type == "cuda":
            torch.cuda.set_device(place)
        if count > 1:
            distributed.init_process_group("nccl" if place.type == "cuda" else "gloo")
        try:
            yield cls(rank, count, place)
        finally:
            if count > 1:
                distributed.destroy_process_group()


def train(
    pictures: PictureSet,
    recipe: TrainingRecipe,
    out: Path,
    processes: Processes,
    *,
    weights: Path | None,
    seed: int = 0,
    resume: bool = False,
) -> nn.Module:
    """Train a network and leave its averaged weights in `out`.

    Every 1,000 steps `state.pt` is written, from which `resume` continues.

    Args:
        pictures: the training set.
        recipe: settings.
        out: the run folder.
        processes: this one and the others.
        weights: of ImageNet for the trunk (`.pth`), or of a whole network (`.safetensors`) that an
            earlier run left; random weights without.
        seed: of weights, order and augmentation.
        resume: continue from `state.pt`, if it exists.

    Returns:
        The network with the averaged weights, in eval mode.
    """
    settings, device = recipe.optimiser, processes.device
    torch.manual_seed(seed)
    network = build_network(len(pictures.classes), recipe.network)
    if weights is not None and weights.suffix == ".safetensors":
        load_weights(network, weights)
    elif weights is not None:
        load_imagenet_weights(network.backbone.trunk, weights)
    model = DetectionLosses(network, len(pictures.vocabulary), recipe.losses).to(device).train()
    # the only layout in which a GPU's convolutions of single channels are quick
    model = model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - stubs
    average = AveragedModel(
        network,
        multi_avg_fn=get_ema_multi_avg_fn(settings.averaging**AVERAGE_EVERY),
    )
    optimiser = build_optimiser(model, settings)
    first = 0
    if resume and (out / STATE).is_file():
        first = _load_state(out / STATE, model, average, optimiser, device)
    # each process draws pictures and augmentations of its own
    torch.manual_seed(seed * 1000 + first + processes.rank)
    generator = torch.Generator().manual_seed(seed * 1000 + first + processes.rank)
    share = max(1, settings.batch // processes.count)
    drawn = batches(pictures.to(device), recipe.augmentation, share, generator)
    parallel: nn.Module = model
    if processes.count > 1:
        ids = [device.index] if device.type == "cuda" else None
        parallel = nn.parallel.DistributedDataParallel(
            model, device_ids=ids, broadcast_buffers=False, gradient_as_bucket_view=True
        )
    log = _Log(out / LOG, settings.iterations) if processes.rank == 0 else None
    for step in range(first, settings.iterations):
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * learning_rate_share(step, settings)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            losses = parallel(next(drawn))
        total = torch.stack(list(losses.values())).sum()
        optimiser.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        optimiser.step()
        if (step + 1) % AVERAGE_EVERY == 0:
            average.update_parameters(network)
        if log is not None:
            log.add(step, losses)
            if (step + 1) % SAVE_EVERY == 0 or step + 1 == settings.iterations:
                _save(out, step + 1, model, average, optimiser)
    return average.module.eval()


def build_optimiser(model: DetectionLosses, settings: OptimiserSettings) -> torch.optim.AdamW:
    """AdamW with a lower learning rate for the trunk and no weight decay of norms and biases."""
    groups: dict[tuple[bool, bool], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        key = (".trunk." in name, parameter.dim() > 1)
        groups.setdefault(key, []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "peak": settings.learning_rate * (settings.trunk_share if is_trunk else 1),
                "weight_decay": settings.weight_decay if decays else 0.0,
            }
            for (is_trunk, decays), parameters in groups.items()
        ],
        lr=settings.learning_rate,
        fused=next(model.parameters()).is_cuda,
    )


def learning_rate_share(step: int, settings: OptimiserSettings) -> float:
    """Share of the peak learning rate: a linear rise, then half a cosine to a hundredth."""
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    done = (step - settings.warmup_steps) / max(1, settings.iterations - settings.warmup_steps)
    return 0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2


def _save(
    out: Path,
    step: int,
    model: DetectionLosses,
    average: AveragedModel,
    optimiser: torch.optim.Optimizer,
) -> None:
    """Write the averaged weights and the resume checkpoint; each file is complete or absent."""
    weights = {name: value.contiguous() for name, value in average.module.state_dict().items()}
    save_file(weights, out / f"{WEIGHTS}.tmp")
    (out / f"{WEIGHTS}.tmp").replace(out / WEIGHTS)
    state = {
        "step": step,
        "model": model.state_dict(),
        "average": average.state_dict(),
        "optimiser": optimiser.state_dict(),
    }
    torch.save(state, out / f"{STATE}.tmp")
    (out / f"{STATE}.tmp").replace(out / STATE)


def _load_state(
    path: Path,
    model: DetectionLosses,
    average: AveragedModel,
    optimiser: torch.optim.Optimizer,
    device: torch.device,
) -> int:
    state = torch.load(path, map_location=device, weights_only=True)
    model.load_state_dict(state["model"])
    average.load_state_dict(state["average"])
    optimiser.load_state_dict(state["optimiser"])
    return state["step"]


class _Log:
    """One line of JSON for every 50 steps: means of the losses, and how fast it goes."""

    def __init__(self, path: Path, iterations: int) -> None:
        self.path, self.iterations = path, iterations
        self.sums: dict[str, Tensor] = {}
        self.started = time.monotonic()

    def add(self, step: int, losses: dict[str, Tensor]) -> None:
        for name, loss in losses.items():
            self.sums[name] = self.sums.get(name, torch.zeros_like(loss)) + loss.detach()
        if (step + 1) % LOG_EVERY:
            return
        seconds = (time.monotonic() - self.started) / LOG_EVERY
        means = {name: round(float(total) / LOG_EVERY, 4) for name, total in self.sums.items()}
        line = json.dumps({"step": step + 1, "seconds_a_step": round(seconds, 4)} | means)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        click.echo(f"{step + 1}/{self.iterations} {line}", err=True)
        self.sums, self.started = {}, time.monotonic()


def detector_info(classes: Sequence[str], recipe: TrainingRecipe) -> DetectorInfo:
    """What one must know of the trained network to use it."""
    return DetectorInfo(
        name="photos",
        domain="photographs",
        classes=tuple(classes),
        feature_width=recipe.network.feature_width,
        resize=ResizePolicy(
            short_side=recipe.short_side, max_side=recipe.max_side, filter="pillow"
        ),
        channels="RGB",
        pixel_mean=(PIXEL_MEAN,) * 3,
        pixel_std=(PIXEL_STD,) * 3,
        dialect="torchvision",
        selection=recipe.selection,
    )
