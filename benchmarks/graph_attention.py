"""Is `resg.kernels.graph_attention` worth having? Time, share of the bandwidth bound, and peers.

    python benchmarks/graph_attention.py                   # on a GPU: device and wall time
    python benchmarks/graph_attention.py --prepare         # compile all compiled peers, in parallel
    python benchmarks/graph_attention.py --workloads 1 2 --skip Flex   # a part, for a short visit
    python benchmarks/graph_attention.py --device cpu      # scatter against torch on the CPU
    python benchmarks/graph_attention.py --tune            # launch shapes of the Triton kernels

B graphs, N nodes each, E edges, H heads, d head width, T bytes of one `[B * N, H, d]` array. A step
is forward and backward. It must move at least 11 T (forward reads q, k, v and writes out; backward
reads q, k, v and the output's gradient and writes three) and three times the edge bias.

Peers are given what favours them: graphs of one size, so that dense forms need no padding, and
(`ready`) a bias that lies in a dense matrix already. Inputs rotate through more memory than the L2
cache holds. Errors are RMS, relative to the float64 reference, worst of output and four gradients.

Device time is that of a CUDA graph's replays; where a form cannot be captured, the sum of its
kernels (marked k). A failed capture poisons its process, so peers are measured in a process of
their own, and after a failure the next peers in a fresh one.
"""

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from graph_attention_peers import WIDTH, Peers, Workload
from measuring import captured_seconds, kernels_seconds, wall_seconds
from torch import Tensor

from resg.graphs.batch import GraphBatch
from resg.kernels.graph_attention import graph_attention

UNCAPTURED = {"torch-scatter composition", "resg scatter"}  # wait for the device while they run
COMPILED = "compile,Flex"


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


def measure(
    name: str,
    peer: Callable[..., Tensor],
    sets: list[list[Tensor]],
    workload: Workload,
    graph: GraphBatch,
    is_ready: bool,
    bandwidth: float,
) -> Measurement:
    result = Measurement(str(workload), name)
    try:
        if not is_ready and workload.graphs * workload.nodes < 20_000:
            result.error = worst_error(step(peer, sets[0]), sets[0], graph)
        results: list[Any] = [None]

        def steps() -> None:
            for inputs in sets:
                results[0] = step(peer, inputs)

        def forwards() -> None:
            with torch.no_grad():
                for inputs in sets:
                    results[0] = peer(*inputs[:4])

        to_ms = 1e3 / len(sets)
        result.wall_ms = wall_seconds(steps, 7 if bandwidth else 3) * to_ms
        if workload.device == "cuda":
            result.is_kernel_sum = name in UNCAPTURED
            device_seconds = kernels_seconds if result.is_kernel_sum else captured_seconds
            result.device_ms = device_seconds(steps) * to_ms
            result.forward_ms = device_seconds(forwards) * to_ms
            result.gb_per_second = workload.bytes() / result.device_ms / 1e6
            result.share = result.gb_per_second / bandwidth
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        # a peer that cannot run is a row of the table; torch's compiler errors are RuntimeErrors
        result.failure = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:90]}"
    torch.cuda.empty_cache()
    return result


def measure_peers(workload: Workload, bandwidth: float, names: list[str]) -> Iterator[Measurement]:
    """The named peers, one after another, up to the first that fails."""
    graph = workload.graph()
    peers = Peers(workload, graph)
    functions = peers.all()
    size = workload.bytes() / 11 * 8
    count = 1 if workload.device == "cpu" else max(1, min(8, int(5e8 / size)))
    sets = [workload.inputs() for _ in range(count)]
    for name in names:
        peer, is_ready = functions[name]
        torch._dynamo.reset()
        chosen = sets
        if is_ready:
            chosen = [[*s[:3], peers.ready_bias(s[3]), s[4]] for s in sets]
        result = measure(name, peer, chosen, workload, graph, is_ready, bandwidth)
        yield result
        if result.failure:
            return


def measure_all(
    index: int, workload: Workload, bandwidth: float, names: list[str]
) -> Iterator[Measurement]:
    """The named peers of a workload, in as few processes as failures allow."""
    if workload.device == "cpu":
        yield from measure_peers(workload, bandwidth, names)
        return
    while names:
        with worker(index, bandwidth, names) as process:
            assert process.stdout is not None
            before = len(names)
            for line in process.stdout:
                yield Measurement(**json.loads(line))
                names = names[1:]
        if len(names) == before:
            yield Measurement(str(workload), names[0], failure="the process ended")
            names = names[1:]


def worker(index: int, bandwidth: float, names: list[str]) -> subprocess.Popen[str]:
    """A process that measures peers of a workload and prints a line of JSON for each."""
    job = json.dumps({"index": index, "bandwidth": bandwidth, "names": names})
    return subprocess.Popen(
        [sys.executable, __file__, "--worker", job],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def chosen(options: argparse.Namespace) -> Iterator[tuple[int, Workload, list[str]]]:
    """Workloads that the options name, each with its peers."""

    def is_among(name: str, parts: str) -> bool:
        return any(part in name for part in parts.split(",")) if parts else False

    for index, (workload, peers) in enumerate(workloads(options.device)):
        if options.workloads and index not in options.workloads:
            continue
        only = options.only or peers
        names = Peers(workload, workload.graph()).all()
        yield (
            index,
            workload,
            [n for n in names if (not only or is_among(n, only)) and not is_among(n, options.skip)],
        )


def prepare(options: argparse.Namespace) -> None:
    """Compile every chosen compiled peer, all at once; their cache keeps the kernels."""
    begin = time.perf_counter()
    processes = [
        worker(index, 1.0, [name])
        for index, _, names in chosen(options)
        for name in names
        if any(part in name for part in COMPILED.split(","))
    ]
    for process in processes:
        process.communicate()
    print(f"compiled {len(processes)} peers in {time.perf_counter() - begin:.0f} s", flush=True)


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
        f"{number(row.error, '9.1e'):>9}{' k' if row.is_kernel_sum else ''}  {row.failure}"
    )


def tune(bandwidth: float) -> None:
    """Time every launch shape of every kernel alone; the fastest are written into triton.py."""
    module: Any = import_module("resg.kernels.graph_attention.triton")
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
        sets = [[x.detach() for x in workload.inputs()] for _ in range(4)]
        print(f"\n{workload}: microseconds of forward and backward kernels")
        for launch in launches:
            module.dense_launch = module.edge_launch = lambda *_, chosen=launch: chosen
            kept = [module.forward(*s[:4], graph, WIDTH**-0.5) for s in sets]

            def forwards(sets: Any = sets, graph: GraphBatch = graph) -> None:
                for s in sets:
                    module.forward(*s[:4], graph, WIDTH**-0.5)

            def backwards(sets: Any = sets, graph: GraphBatch = graph, kept: Any = kept) -> None:
                for s, (out, lse) in zip(sets, kept, strict=True):
                    module.backward(s[4], *s[:4], out, lse, graph, WIDTH**-0.5)

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
        "--prepare", action="store_true", help="compile the compiled peers and stop"
    )
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        job = json.loads(options.worker)
        workload, _ = workloads("cuda")[job["index"]]
        for row in measure_peers(workload, job["bandwidth"], job["names"]):
            print(json.dumps(asdict(row)), flush=True)
        return
    if options.prepare:
        prepare(options)
        return
    bandwidth = 0.0
    if options.device == "cuda":
        bandwidth = copy_bandwidth()
        name = torch.cuda.get_device_name()
        print(f"{name}, copy {bandwidth:.0f} GB/s, torch {torch.__version__}")
    else:
        print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    if options.tune:
        tune(bandwidth)
        return
    written = []
    for index, workload, names in chosen(options):
        print(f"\n{workload}\n{HEADER}", flush=True)
        ours = None
        for row in measure_all(index, workload, bandwidth, names):
            if row.peer == "resg triton":
                ours = row
            print(table_row(row, ours), flush=True)
            written.append(asdict(row))
            if options.json:
                options.json.write_text(json.dumps(written, indent=1))


if __name__ == "__main__":
    main()
