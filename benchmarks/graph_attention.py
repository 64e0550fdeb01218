"""Is `resg.kernels.graph_attention` worth having? Time, share of the bandwidth bound, and peers.

    python benchmarks/graph_attention.py                   # on a GPU: device and wall time
    python benchmarks/graph_attention.py --workloads 1 2 --skip "resg torch,resg scatter"   # a part
    python benchmarks/graph_attention.py --device cpu      # scatter against torch on the CPU
    python benchmarks/graph_attention.py --tune            # launch shapes of the Triton kernels

B graphs, N nodes each, E edges, H heads, d head width, T bytes of one `[B * N, H, d]` array. A step
is forward and backward. It must move at least 11 T (forward reads q, k, v and writes out; backward
reads q, k, v and the output's gradient and writes three) and three times the edge bias.

Peers are given what favours them: graphs of one size, so that dense forms need no padding, and
(`ready`) a bias that lies in a dense matrix already. Inputs rotate through more memory than the L2
cache holds. Errors are RMS, relative to the float64 reference, worst of output and four gradients.

On a GPU every peer has a process of its own: all compile side by side, then they take turns. Device
time is that of a CUDA graph's replays; where a form cannot be captured, the sum of its kernels
(marked k).
"""

import argparse
import json
import multiprocessing
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from itertools import chain
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from graph_attention_peers import WIDTH, Peers, Workload, peer_names
from measuring import captured_seconds, kernels_seconds, wall_seconds
from torch import Tensor

from resg.graphs.batch import GraphBatch
from resg.kernels.graph_attention import graph_attention
from resg.kernels.graph_attention.checks import AttentionInputs

UNCAPTURED = {"torch-scatter composition", "resg scatter"}  # wait for the device while they run
# a peer that cannot run is a row of the table; torch's compiler errors are RuntimeErrors
FAILURES = (RuntimeError, ValueError, TypeError, NotImplementedError)

Job = tuple[Workload, str]  # and a peer's name


@dataclass
class Measurement:
    """One peer on one workload; times of a step in milliseconds."""

    workload: str
    peer: str
    device_ms: float | None = None
    forward_ms: float | None = None
    wall_ms: float | None = None
    gb_per_second: float | None = None
    share: float | None = None
    error: float | None = None
    is_kernel_sum: bool = False
    failure: str = ""


def step(peer: Callable[..., Tensor], inputs: list[Tensor]) -> list[Tensor]:
    out = peer(*inputs[:4])
    return [out, *torch.autograd.grad(out, inputs[:4], inputs[4])]


def worst_error(results: list[Tensor], inputs: list[Tensor], graph: GraphBatch) -> float:
    wide = [x.detach().double().requires_grad_() for x in inputs]

    def reference(q: Tensor, k: Tensor, v: Tensor, b: Tensor) -> Tensor:
        return graph_attention(q, k, v, graph, b, backend="reference")

    exact = step(reference, wide)
    pairs = [(x.detach().double(), y.detach()) for x, y in zip(results, exact, strict=True)]
    return max(float((x - y).norm() / y.norm()) for x, y in pairs)


class Run:
    """One peer on one workload: compiled and checked first, measured later."""

    def __init__(self, workload: Workload, name: str) -> None:
        self.workload, self.name = workload, name
        self.result = Measurement(str(workload), name)
        self.sets: list[list[Tensor]] = []
        self.peer: Callable[..., Tensor] = torch.add

    def prepare(self) -> None:
        """Make inputs, compile both passes, compare with the reference where that fits."""
        try:
            workload, graph = self.workload, self.workload.graph()
            peers = Peers(workload, graph)
            self.peer, is_ready = peers.function(self.name), self.name.endswith("ready")
            size = workload.bytes() / 11 * 8
            count = 1 if workload.device == "cpu" else max(1, min(8, int(5e8 / size)))
            self.sets = [workload.inputs() for _ in range(count)]
            if is_ready:
                self.sets = [[*s[:3], peers.ready_bias(s[3]), s[4]] for s in self.sets]
            results = step(self.peer, self.sets[0])
            if not is_ready and workload.graphs * workload.nodes < 20_000:
                self.result.error = worst_error(results, self.sets[0], graph)
            self.forwards()
        except FAILURES as error:
            self.fail(error)
        torch.cuda.empty_cache()

    def measure(self) -> Measurement:
        """The times of a step, unless the preparation failed."""
        if self.result.failure:
            return self.result
        result, to_ms = self.result, 1e3 / len(self.sets)
        try:
            is_cuda = self.workload.device == "cuda"
            result.wall_ms = wall_seconds(self.steps, 7 if is_cuda else 3) * to_ms
            if is_cuda:
                result.device_ms = self.device_seconds(self.steps) * to_ms
                result.forward_ms = self.device_seconds(self.forwards) * to_ms
        except FAILURES as error:
            self.fail(error)
        return result

    def steps(self) -> None:
        """Both passes on every set of inputs; keeps no result.

        A kept result keeps its leaves' gradient nodes, and these the stream that they were made
        on; a capture that meets another stream fails (github.com/pytorch/pytorch/pull/180090).
        """
        for inputs in self.sets:
            step(self.peer, inputs)

    def forwards(self) -> None:
        """The forward pass on every set of inputs."""
        with torch.no_grad():
            for inputs in self.sets:
                self.peer(*inputs[:4])

    def device_seconds(self, work: Callable[[], None]) -> float:
        """Device time from replays, or from the kernels where a capture is bound to fail or did."""
        result = self.result
        result.is_kernel_sum |= self.name in UNCAPTURED
        if not result.is_kernel_sum:
            try:
                return captured_seconds(work)
            except RuntimeError:
                result.is_kernel_sum = True
        return kernels_seconds(work)

    def fail(self, error: Exception) -> None:
        """Say in the row why the peer cannot run."""
        self.result.failure = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def take_turn(parent: Connection, workload: Workload, name: str) -> None:
    """A peer's process: prepare, say so, wait for the word, measure, answer, and keep still."""
    for stream in (1, 2):  # a compiler's complaint is in the row already
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    run = Run(workload, name)
    run.prepare()
    parent.send("ready")
    parent.recv()
    parent.send(run.measure())
    torch.cuda.empty_cache()
    parent.poll(None)  # a process that ends now would disturb the next


def measure_apart(jobs: list[Job], patience: float) -> Iterator[Measurement]:
    """Each peer in a process of its own, measured alone once all are ready.

    Compiling takes seconds and many cores, measuring takes milliseconds and wants the machine
    alone. What spoils one process does not reach the next. Peers that are not ready after
    `patience` seconds come after the others.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch"])  # read once for all; it leaves the device alone
    waiting: dict[Job, Connection] = {}
    processes = []
    for job in jobs:
        here, there = context.Pipe()
        processes.append(context.Process(target=take_turn, args=(there, *job), daemon=True))
        processes[-1].start()
        there.close()  # so that its end is noticed
        waiting[job] = here
    connections = list(waiting.values())
    while waiting:
        until = time.monotonic() + patience
        ready = [j for j, here in waiting.items() if here.poll(max(0, until - time.monotonic()))]
        for job in ready or list(waiting):
            here = waiting.pop(job)
            row = Measurement(str(job[0]), job[1], failure="not ready in time")
            if ready:
                try:
                    here.recv()
                    here.send("go")
                    row = here.recv()
                except (EOFError, OSError):
                    row.failure = "the process ended"
            yield row
    for process in processes:
        process.kill()
        process.join()
    for here in connections:
        here.close()


def measure_here(jobs: list[Job]) -> Iterator[Measurement]:
    """On a CPU: one after another in this process."""
    for workload, name in jobs:
        run = Run(workload, name)
        run.prepare()
        yield run.measure()


def chosen(options: argparse.Namespace) -> list[Job]:
    """Workloads that the options name, each with every peer."""

    def is_among(name: str, parts: str) -> bool:
        return any(part in name for part in parts.split(",")) if parts else False

    jobs = []
    for index, (workload, peers) in enumerate(workloads(options.device)):
        if options.workloads and index not in options.workloads:
            continue
        only = options.only or peers
        for name in peer_names(workload.device):
            if (not only or is_among(name, only)) and not is_among(name, options.skip):
                jobs.append((workload, name))
    return jobs


def copy_bandwidth() -> float:
    """GB/s of a large copy on the device, bytes read and bytes written."""
    source = torch.randn(2**29, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.nbytes / captured_seconds(lambda: target.copy_(source)) / 1e9


HEADER = (
    f"{'':28}{'device ms':>10}{'forward':>9}{'wall ms':>9}{'GB/s':>7}{'bound':>7}"
    f"{'ratio':>7}{'wall x':>7}{'error':>9}"
)


def table_row(row: Measurement, ours: Measurement | None) -> str:
    """A line of the table; ratios are to our Triton kernel, where it was measured."""

    def number(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    ratio = wall = None
    if ours and ours.device_ms and ours.wall_ms and row.device_ms and row.wall_ms:
        ratio, wall = row.device_ms / ours.device_ms, row.wall_ms / ours.wall_ms
    return (
        f"{row.peer:28}{number(row.device_ms, '10.4f'):>10}{number(row.forward_ms, '9.4f'):>9}"
        f"{number(row.wall_ms, '9.3f'):>9}{number(row.gb_per_second, '7.0f'):>7}"
        f"{number(row.share, '7.1%'):>7}{number(ratio, '7.2f'):>7}{number(wall, '7.2f'):>7}"
        f"{number(row.error, '9.1e'):>9}{' k' if row.is_kernel_sum else ''}  {row.failure[:110]}"
    )


def tune(bandwidth: float) -> None:
    """Time every launch shape of every kernel alone; the fastest are in its `triton_backend`."""
    module: Any = import_module("resg.kernels.graph_attention.triton_backend")
    Launch = module.Launch
    dense = [Launch(b, w, r) for b in (128, 64) for w, r in ((4, None), (4, 168), (8, None))]
    dense += [Launch(128, 4, 128), Launch(128, 8, 128)]
    small = [Launch(128, w) for w in (1, 2, 4)]
    edges = [Launch(b, w) for b in (8, 16) for w in (1, 2, 4)]
    for workload, launches in (
        (Workload(1024, 36, 10), dense),
        (Workload(128, 36, 10), dense),
        (Workload(1024, 24, 5), small),
        (Workload(1024, 12, 4), small),
        (Workload(256, 200, 10), edges),
        (Workload(1024, 36, 10, torch.float32), edges[:2] + edges[3:5]),
    ):
        graph = workload.graph()
        sets = []
        for _ in range(4):
            q, k, v, bias, grad = (x.detach() for x in workload.inputs())
            sets.append((AttentionInputs(q, k, v, bias, graph, WIDTH**-0.5), grad))
        print(f"\n{workload}: microseconds of forward and backward kernels")
        for launch in launches:
            module.dense_launch = module.edge_launch = lambda *_, chosen=launch: chosen
            kept = [module.forward(inputs) for inputs, _ in sets]

            def forwards(sets: Any = sets) -> None:
                for inputs, _ in sets:
                    module.forward(inputs)

            def backwards(sets: Any = sets, kept: Any = kept) -> None:
                for (inputs, grad), (out, lse) in zip(sets, kept, strict=True):
                    module.backward(inputs, grad, out, lse)

            forward = captured_seconds(forwards) / len(sets) * 1e6
            backward = captured_seconds(backwards) / len(sets) * 1e6
            share = workload.bytes() / (forward + backward) / 1e3 / bandwidth
            print(
                f"  block {launch.block:4} warps {launch.warps} registers {launch.registers!s:5}"
                f"{forward:9.1f}{backward:9.1f}  together {share:6.1%} of the bound",
                flush=True,
            )


def workloads(device: str) -> list[tuple[Workload, str]]:
    """What is measured, and parts of the names of the peers that take part; empty means all."""
    if device == "cpu":
        return [
            (Workload(128, 36, 10, torch.float32, "cpu"), ""),
            (Workload(128, 12, 4, torch.float32, "cpu"), ""),
            (Workload(16, 200, 10, torch.float32, "cpu"), ""),
        ]
    return [
        (Workload(128, 36, 10), ""),
        (Workload(1024, 36, 10), ""),
        (Workload(256, 200, 10), ""),
        (Workload(128, 36, 10, torch.float32), "resg,torch-scatter,ready"),
        (Workload(1024, 36, 10, torch.float32), "resg,torch-scatter,PyG,ready"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", choices=["cpu", "cuda"], default=default)
    parser.add_argument("--tune", action="store_true", help="time launch shapes and stop")
    parser.add_argument("--only", default="", help="names of peers, or parts, with commas")
    parser.add_argument("--skip", default="", help="peers to leave out, likewise")
    parser.add_argument("--workloads", type=int, nargs="+", help="numbers of workloads, from 0")
    parser.add_argument(
        "--patience", type=float, default=120, help="seconds in which all peers should compile"
    )
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument(
        "--side-by-side", type=int, default=12, help="peers that compile and wait at a time"
    )
    options = parser.parse_args()
    if options.tune:
        tune(copy_bandwidth())
    else:
        report(options)


def report(options: argparse.Namespace) -> None:
    """Print a row for each peer as it comes, and write all of them as JSON."""
    jobs = chosen(options)
    bandwidth = 0.0
    if options.device == "cuda":
        # before the processes start: one thread each, since there are about as many as cores
        os.environ |= {"OMP_NUM_THREADS": "1", "TORCHINDUCTOR_COMPILE_THREADS": "1"}
        bandwidth = copy_bandwidth()
        name = torch.cuda.get_device_name()
        print(f"{name}, copy {bandwidth:.0f} GB/s, torch {torch.__version__}", flush=True)
        size = options.side_by_side
        groups = (jobs[first : first + size] for first in range(0, len(jobs), size))
        rows = chain.from_iterable(measure_apart(group, options.patience) for group in groups)
    else:
        print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
        rows = measure_here(jobs)
    written: list[Measurement] = []
    ours: dict[str, Measurement] = {}
    bytes_of = {str(workload): workload.bytes() for workload, _ in workloads(options.device)}
    for row in rows:
        if not written or written[-1].workload != row.workload:
            print(f"\n{row.workload}\n{HEADER}")
        if row.device_ms:
            row.gb_per_second = bytes_of[row.workload] / row.device_ms / 1e6
            row.share = row.gb_per_second / bandwidth
        if row.peer == "resg triton":
            ours[row.workload] = row
        print(table_row(row, ours.get(row.workload)), flush=True)
        written.append(row)
        if options.json:
            options.json.write_text(json.dumps([asdict(row) for row in written], indent=1))


if __name__ == "__main__":
    main()
