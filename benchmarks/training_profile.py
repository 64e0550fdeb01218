"""Where the time of a training step goes: device time by part of the model, both passes.

Kernels of the backward pass belong to the part whose forward operation recorded their node; the
profiler gives both the same sequence number.
"""

import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from resg.training.cuda_graphs import CapturedPairEncoder
from resg.training.trainer import Trainer

STEPS = 4
BACKWARD = "autograd::engine::evaluate_function"
PREFIX = "part: "


class Profile:
    """Profiles some steps of a trainer, called once a step."""

    def __init__(self, device: torch.device) -> None:
        on_gpu = device.type == "cuda"
        activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu
        self.profiler = profile(activities=activities)
        self.device = device
        self.steps = -1

    def label(self, trainer: Trainer) -> None:
        """Name the parts of a trainer and of its matcher."""
        matcher = trainer.matcher
        for name, module in (
            ("region encoder", matcher.regions),
            ("word GRU", matcher.words),
            ("graph attention, regions", matcher.visual_graph.layers),
            ("graph attention, words", matcher.textual_graph.layers),
            ("contextual order, regions", matcher.visual_graph.order),
            ("contextual order, words", matcher.textual_graph.order),
            ("pooling, regions", matcher.image_pooling),
            ("pooling, words", matcher.caption_pooling),
            ("scores", matcher.similarity),
        ):
            for part in module if isinstance(module, nn.ModuleList) else [module]:
                if part is not None:
                    part.forward = _named(name, part.forward)
        trainer.loss = _named("loss", trainer.loss)
        encoder = trainer.scorer.encoder
        # methods of these objects alone are wrapped: hence each `ignore`
        if isinstance(encoder, CapturedPairEncoder):  # the parts above are then launched as one
            encode = _named("encoders, captured", encoder._encode_padded)
            encoder._encode_padded = encode  # type: ignore[method-assign]
        trainer.optimiser.step = _named("optimiser", trainer.optimiser.step)  # type: ignore[method-assign]
        trainer._load = _named("loading", trainer._load)  # type: ignore[method-assign]

    def step(self) -> bool:
        """One more step is done; whether another is wanted."""
        self.steps += 1
        if self.steps == 0:
            self.profiler.start()
        if self.steps < STEPS:
            return True
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        self.profiler.stop()
        return False

    def print(self) -> None:
        """Device time a step by part, the device's idle time, and the largest kernels."""
        events = list(self.profiler.events() or [])
        forward, backward, launches = _time_by_part(events)
        print(f"{'part':28}{'forward':>9}{'backward':>9}{'kernels':>9}   (ms and launches a step)")
        names = sorted(forward.keys() | backward.keys(), key=lambda n: -forward[n] - backward[n])
        for name in names:
            times = f"{forward[name] / STEPS / 1e3:9.2f}{backward[name] / STEPS / 1e3:9.2f}"
            print(f"{name:28}{times}{launches[name] / STEPS:9.0f}")
        kernels = [e for e in events if e.device_type.name == "CUDA"]
        kernels = [e for e in kernels if not e.name.startswith((PREFIX, "Optimizer"))]
        if kernels:
            span, busy = _busy([(e.time_range.start, e.time_range.end) for e in kernels])
            print(
                f"device busy {busy / STEPS / 1e3:.2f} of {span / STEPS / 1e3:.2f} ms a step "
                "(as profiled: launches cost more than without)"
            )
        sort = "self_device_time_total" if kernels else "self_cpu_time_total"
        for key in {sort, "self_cpu_time_total"}:
            table = self.profiler.key_averages().table(
                sort_by=key, row_limit=25, max_name_column_width=60
            )
            print(table)


class count_syncs:  # noqa: N801  used as a function
    """Lists the lines at which the host waits for the GPU, over some steps."""

    def __init__(self) -> None:
        self.steps = -1
        self.catcher = warnings.catch_warnings(record=True)
        self.caught: list[warnings.WarningMessage] = []

    def step(self) -> bool:
        """One more step is done; whether another is wanted."""
        self.steps += 1
        if self.steps == 0:
            self.caught = self.catcher.__enter__() or []
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
        if self.steps < STEPS:
            return True
        torch.cuda.set_sync_debug_mode("default")
        self.catcher.__exit__(None, None, None)
        return False

    def print(self) -> None:
        """Lines and how often a step they waited."""
        places = Counter(f"{w.filename}:{w.lineno}" for w in self.caught)
        print(f"{sum(places.values()) / STEPS:.1f} waits a step")
        for place, count in places.most_common():
            print(f"{count / STEPS:6.1f}  {place}")


def _named(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def named(*arguments: Any, **keywords: Any) -> Any:
        with record_function(PREFIX + name):
            return function(*arguments, **keywords)

    return named


def _time_by_part(events: list[Any]) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """Device microseconds (the host's where there is no device) of both passes, and launches."""
    part_of_node: dict[int, str] = {}
    for event in sorted(events, key=lambda e: e.time_range.start):
        if event.sequence_nr >= 0 and _above(event, BACKWARD) is None:
            part_of_node[event.sequence_nr] = _part(event)
    has_kernels = any(event.kernels for event in events)
    forward, backward, launches = Counter(), Counter(), Counter()
    for event in events:
        if event.device_type.name != "CPU":
            continue
        time = sum(k.duration for k in event.kernels) if has_kernels else event.self_cpu_time_total
        node = _above(event, BACKWARD)
        name = part_of_node.get(node.sequence_nr, "other") if node is not None else _part(event)
        (forward if node is None else backward)[name] += time
        launches[name] += len(event.kernels)
    return forward, backward, launches


def _above(event: Any, prefix: str) -> Any:
    while event is not None and not event.name.startswith(prefix):
        event = event.cpu_parent
    return event


def _part(event: Any) -> str:
    label = _above(event, PREFIX)
    return "other" if label is None else label.name.removeprefix(PREFIX)


def _busy(intervals: list[tuple[float, float]]) -> tuple[float, float]:
    """From the first start to the last end, and how much of that some interval covers."""
    covered, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        covered += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return reached - min(start for start, _ in intervals), covered
