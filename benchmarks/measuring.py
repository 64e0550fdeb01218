"""What the kernels' benchmarks measure with: clocks, peak memory, and a report of the figures."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

Work = Callable[[], object]


class Report:
    """Prints figures as they come and keeps them."""

    def __init__(self) -> None:
        self.figures: list[dict[str, Any]] = []

    def add(self, name: str, seconds: float, **more: Any) -> None:
        """One measured time with what it means."""
        self.figures.append({"name": name, "seconds": seconds, **more})
        values = "  ".join(f"{key} {value}" for key, value in more.items())
        print(f"{name:<58} {seconds * 1e3:12.3f} ms  {values}", flush=True)


def timed(work: Work, device: str, repeats: int) -> tuple[float, float]:
    """Median and fastest seconds of a call, after one to warm up; the host is in its way."""
    work()
    times = []
    for _ in range(repeats):
        if device == "cuda":
            start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda.synchronize()
            start.record()
            work()
            stop.record()
            torch.cuda.synchronize()
            times.append(start.elapsed_time(stop) / 1e3)
        else:
            begin = time.perf_counter()
            work()
            times.append(time.perf_counter() - begin)
    return statistics.median(times), min(times)


def wall_seconds(work: Work, repeats: int = 7) -> float:
    """Median wall time of a call, nothing else running on the device, after two to warm up."""
    times = []
    for _ in range(repeats + 2):
        synchronize()
        begin = time.perf_counter()
        work()
        synchronize()
        times.append(time.perf_counter() - begin)
    return statistics.median(times[2:])


def captured_seconds(work: Work, replays: int = 15) -> float:
    """Median device time of a call, from replays of its CUDA graph.

    Raises:
        RuntimeError: the call cannot be captured. That can spoil the process's later captures.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    for _ in range(2):
        graph.replay()
    return timed(graph.replay, "cuda", replays)[0]


def kernels_seconds(work: Work) -> float:
    """Device time of a call as the sum of its kernels' times."""
    work()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        work()
        torch.cuda.synchronize()
    return sum(event.self_device_time_total for event in profiler.key_averages()) / 1e6


def synchronize() -> None:
    """Wait until the device is done, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_memory(device: str, function: Callable[[], object]) -> float:
    """GB at the peak of one call, inputs included; NaN on the CPU."""
    if device != "cuda":
        return float("nan")
    torch.cuda.reset_peak_memory_stats()
    function()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() / 1e9
