"""The part `training` of pair_scores.py: forward and backward of all pairs of a batch."""

import argparse
from collections.abc import Callable, Iterator
from functools import partial

import torch
from measuring import Report, captured_seconds, peak_memory, timed, wall_seconds
from pair_scores_peers import NORMALISE, REGIONS, WIDTH, obvious_scores, three_products
from torch import Tensor

from resg.kernels.pair_scores import PairSettings, pair_scores

WORDS = 12  # of every caption, for the obvious form
STEPS = 20  # one after the other, by the wall clock
Step = Callable[[], None]


def training(report: Report, options: argparse.Namespace) -> None:
    """Steps of each batch size, by three clocks.

    A step alone with the host in its way, steps one after the other (wall), and the device's own
    time under a CUDA graph, where the host is not in the way.
    """
    for batch in options.batches:
        V, T, grad = batch_nodes(batch, options.device, options.dtype)
        label = f"training step, batch {batch}"
        steps = {
            name: partial(training_step, form, V, T, grad)
            for name, form in forms(V, T, options).items()
        }
        wall = by_wall(report, label, steps, options)
        on_device = by_device(report, label, {name: steps[name] for name in wall}, options)
        for clock, times in (("wall", wall), ("device", on_device)):
            others = [seconds for name, seconds in times.items() if "obvious" in name]
            if others and "pair_scores" in times:
                ratio = round(min(others) / times["pair_scores"], 2)
                report.add(f"{label}, {clock} time, best other form", min(others), ratio=ratio)
        products, _ = timed(partial(three_products, V, T), options.device, options.repeats)
        report.add(f"{label}, the three products alone", products)


def batch_nodes(batch: int, device: str, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Regions `[batch, R, d]`, words `[batch, W, d]` and the scores' gradient."""
    generator = torch.Generator(device).manual_seed(1)

    def unit(count: int) -> Tensor:
        nodes = torch.randn(batch, count, WIDTH, generator=generator, device=device)
        return torch.nn.functional.normalize(nodes, dim=2).to(dtype).requires_grad_()

    V, T = unit(REGIONS), unit(WORDS)
    return V, T, torch.randn(batch, batch, generator=generator, device=device)


def forms(V: Tensor, T: Tensor, options: argparse.Namespace) -> dict[str, Callable[[], Tensor]]:
    """What computes the scores: ours, with remembered lengths and with new ones, and the others."""
    batch = len(V)
    region_ptr = torch.arange(0, batch * REGIONS + 1, REGIONS)
    word_ptr = torch.arange(0, batch * WORDS + 1, WORDS)
    pointers = fresh_pointers(batch)
    settings = PairSettings(normalise=NORMALISE)

    def ours(word_ptr: Tensor) -> Tensor:
        nodes = V.flatten(0, 1), T.flatten(0, 1)
        return pair_scores(
            *nodes, region_ptr, word_ptr, normalise=NORMALISE, backend=options.backend
        )

    found: dict[str, Callable[[], Tensor]] = {
        "pair_scores": partial(ours, word_ptr),
        "pair_scores, new lengths each step": lambda: ours(next(pointers)),
        "eager, obvious": partial(obvious_scores, V, T, settings),
    }
    compiled = torch.compile(obvious_scores, dynamic=False)
    found["torch.compile, obvious"] = partial(compiled, V, T, settings)
    skipped = options.skip.split(",") if options.skip else []
    return {name: form for name, form in found.items() if not any(part in name for part in skipped)}


def fresh_pointers(batch: int) -> Iterator[Tensor]:
    """Captions of 6 to 18 words, 12 on average, never the same lengths twice."""
    generator = torch.Generator().manual_seed(2)
    while True:
        longer = torch.randint(0, 7, (batch // 2,), generator=generator)
        counts = torch.cat((WORDS + longer, WORDS - longer))
        counts = counts[torch.randperm(len(counts), generator=generator)]
        yield torch.cat((torch.zeros(1, dtype=torch.long), counts.cumsum(0)))


def training_step(form: Callable[[], Tensor], V: Tensor, T: Tensor, grad: Tensor) -> None:
    """Scores of all pairs and their gradients."""
    out = form()
    torch.autograd.grad(out, (V, T), grad.to(out.dtype))


def by_wall(
    report: Report, label: str, steps: dict[str, Step], options: argparse.Namespace
) -> dict[str, float]:
    """Seconds of a step of each form that fits in memory, one step after the other."""
    wall = {}
    for name, step in steps.items():
        try:
            peak = peak_memory(options.device, step)
        except torch.OutOfMemoryError:
            print(f"{label}, {name}: out of memory", flush=True)
            continue
        finally:
            if options.device == "cuda":
                torch.cuda.empty_cache()
        seconds, fastest = timed(step, options.device, options.repeats)
        wall[name] = wall_seconds(partial(_repeat, step), 3) / STEPS
        report.add(
            f"{label}, {name}",
            seconds,
            fastest_ms=round(fastest * 1e3, 3),
            wall_ms=round(wall[name] * 1e3, 3),
            peak_gb=round(peak, 2),
        )
    return wall


def _repeat(step: Step) -> None:
    for _ in range(STEPS):
        step()


def by_device(
    report: Report, label: str, steps: dict[str, Step], options: argparse.Namespace
) -> dict[str, float]:
    """Seconds of a step of each form under a CUDA graph, which new lengths cannot have."""
    on_device = {}
    if options.device != "cuda":
        return on_device
    for name, step in steps.items():
        if "new" in name:
            continue
        try:
            on_device[name] = captured_seconds(step)
        except RuntimeError as error:  # whatever cannot be captured has no line
            print(f"{label}, {name}: not captured: {str(error).strip()[:90]}", flush=True)
        else:
            report.add(f"{label}, {name}, on the device", on_device[name])
    return on_device
