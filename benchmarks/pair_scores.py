"""How fast is pair_scores, against the product alone, the obvious form, and SCAN's evaluation loop?

    python benchmarks/pair_scores.py evaluation training scan        # on the GPU if there is one
    python benchmarks/pair_scores.py check                           # against float64, then speed
    python benchmarks/pair_scores.py tune                            # tile shapes and launches
    python benchmarks/pair_scores.py evaluation --device cpu --images 64 --captions 320

One line a figure; `--json FILE` keeps them all. Nodes are random unit vectors with a shared
direction, so that logits are uneven; captions have 12 words on average, 5 to 30.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resg.kernels.pair_scores import PairSettings, pair_scores
from resg.kernels.pair_scores.backends import GPU_TILE_BYTES

REGIONS, WIDTH = 36, 1024
MATRIX_TFLOPS = 790.0  # measured bf16 product of 8192 cubed on the H200 this was tuned on
COPY_GBPS = 4300.0  # measured device-to-device copy, read plus written


class Report:
    """Prints figures as they come and keeps them."""

    def __init__(self) -> None:
        self.figures: list[dict[str, Any]] = []

    def add(self, name: str, seconds: float, **more: Any) -> None:
        """One measured time with what it means."""
        self.figures.append({"name": name, "seconds": seconds, **more})
        values = "  ".join(f"{key} {value}" for key, value in more.items())
        print(f"{name:<58} {seconds * 1e3:12.3f} ms  {values}", flush=True)


def make_nodes(
    images: int, captions: int, device: str, dtype: torch.dtype, ragged: bool = False, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Regions, words and pointers: 36 regions (10 to 100 if ragged), 12 words on average."""
    generator = torch.Generator().manual_seed(seed)
    region_counts = torch.full((images,), REGIONS)
    if ragged:
        region_counts = torch.randint(10, 101, (images,), generator=generator)
    spread = torch.randn(captions, generator=generator) * 2.5
    word_counts = (12 + spread).round().clamp(5, 30).long()
    region_ptr = torch.cat((torch.zeros(1, dtype=torch.long), region_counts.cumsum(0)))
    word_ptr = torch.cat((torch.zeros(1, dtype=torch.long), word_counts.cumsum(0)))
    on_device = torch.Generator(device).manual_seed(seed)
    common = torch.randn(WIDTH, generator=on_device, device=device) * 0.3

    def unit(rows: int) -> Tensor:
        nodes = torch.empty(rows, WIDTH, device=device, dtype=dtype)
        for first in range(0, rows, 65536):
            part = nodes[first : first + 65536]
            noise = torch.randn(part.shape, generator=on_device, device=device)
            part.copy_(torch.nn.functional.normalize(noise + common, dim=1))
        return nodes

    return unit(int(region_ptr[-1])), unit(int(word_ptr[-1])), region_ptr, word_ptr


def timed(function: Callable[[], object], device: str, repeats: int) -> tuple[float, float]:
    """Median and fastest seconds of `function`, after one call to warm up."""
    function()
    times = []
    for _ in range(repeats):
        if device == "cuda":
            start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda.synchronize()
            start.record()
            function()
            stop.record()
            torch.cuda.synchronize()
            times.append(start.elapsed_time(stop) / 1e3)
        else:
            begin = time.perf_counter()
            function()
            times.append(time.perf_counter() - begin)
    return statistics.median(times), min(times)


def wall_seconds(function: Callable[[], object], device: str, calls: int = 20) -> float:
    """Seconds a call, of many launched one after the other."""
    for measured in (False, True):
        if device == "cuda":
            torch.cuda.synchronize()
        begin = time.perf_counter()
        for _ in range(calls if measured else 2):
            function()
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - begin) / calls


def captured_seconds(function: Callable[[], object]) -> float | None:
    """Median device time of a call, from replays of its CUDA graph; None where it has none.

    A failed capture can spoil the process's later ones.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            function()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            function()
        return timed(graph.replay, "cuda", 15)[0]
    except RuntimeError as error:
        print(f"not captured: {str(error).strip().splitlines()[0][:90]}", flush=True)
        return None


def product_alone(regions: Tensor, words: Tensor, block: int = 8192) -> Callable[[], None]:
    """The bare product of all nodes, in blocks that are thrown away."""

    def run() -> None:
        out = None
        for first in range(0, len(words), block):
            columns = words[first : first + block].T
            for row in range(0, len(regions), block):
                rows = regions[row : row + block]
                if out is None or out.shape != (len(rows), columns.shape[1]):
                    out = rows.new_empty(len(rows), columns.shape[1])
                torch.mm(rows, columns, out=out)

    return run


def peak_memory(device: str, function: Callable[[], object]) -> float:
    """GB at the peak of one call, inputs included; NaN on the CPU."""
    if device != "cuda":
        return float("nan")
    torch.cuda.reset_peak_memory_stats()
    function()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() / 1e9


def evaluation(report: Report, options: argparse.Namespace) -> None:
    """All images against all captions, forward only."""
    device, dtype = options.device, options.dtype
    for ragged in (False, True):
        if (ragged and options.even) or (not ragged and options.ragged):
            continue
        nodes = make_nodes(options.images, options.captions, device, dtype, ragged)
        regions, words = nodes[:2]
        flop = 2.0 * len(regions) * len(words) * WIDTH
        product, _ = timed(product_alone(regions, words), device, options.repeats)
        label = f"{options.images} x {options.captions}" + (" ragged" if ragged else "")
        report.add(f"product alone, {label}", product, tflops=round(flop / product / 1e12, 2))
        for direction in options.directions if not ragged else ("both",):

            def run(nodes: Any = nodes, direction: Any = direction) -> Tensor:
                if options.packed:
                    return packed_scores(nodes, direction)
                return pair_scores(*nodes, direction=direction, backend=options.backend)

            with torch.inference_mode():
                peak = peak_memory(device, run)
                seconds, fastest = timed(run, device, options.repeats)
            bound = flop / (MATRIX_TFLOPS * 1e12)
            report.add(
                f"pair_scores {direction}, {label}" + (", packed kernel" if options.packed else ""),
                seconds,
                fastest_ms=round(fastest * 1e3, 2),
                tflops=round(flop / seconds / 1e12, 2),
                over_product=round(seconds / product, 3),
                share_of_bound=round(bound / seconds, 3) if device == "cuda" else "-",
                peak_gb=round(peak, 2),
            )


def packed_scores(nodes: tuple[Tensor, Tensor, Tensor, Tensor], direction: Any) -> Tensor:
    """Scores by the packed kernel, whatever the default is."""
    from resg.kernels.pair_scores.forms import DEFAULT_TUNING
    from resg.kernels.pair_scores.launch import PairLaunch

    tuning = replace(DEFAULT_TUNING, packed=True)
    return PairLaunch(*nodes, PairSettings(direction), GPU_TILE_BYTES, tuning).forward()


def obvious_scores(V: Tensor, T: Tensor, settings: PairSettings) -> Tensor:
    """The obvious form, every attended vector formed: `[I, R, d]`, `[C, W, d]` to `[I, C]`."""
    S = torch.einsum("ird,cwd->icrw", V, T)
    L = torch.nn.functional.leaky_relu(S, 0.1)
    words_attend, regions_attend = settings.temperatures
    attention = torch.softmax(words_attend * torch.nn.functional.normalize(L, dim=3), dim=2)
    attended = torch.einsum("icrw,ird->icwd", attention, V)
    t2i = torch.cosine_similarity(attended, T[None], dim=3).mean(2)
    attention = torch.softmax(regions_attend * torch.nn.functional.normalize(L, dim=2), dim=3)
    attended = torch.einsum("icrw,cwd->icrd", attention, T)
    i2t = torch.cosine_similarity(attended, V[:, None], dim=3).mean(2)
    return (t2i + i2t) / 2


def training(report: Report, options: argparse.Namespace) -> None:
    """Forward and backward of all pairs of a batch; captions of 12 words, for the obvious form.

    Three clocks: a step alone with the host in its way, steps one after the other (wall), and the
    device's own time under a CUDA graph, where the host is not in the way.
    """
    device, dtype = options.device, options.dtype
    for batch in options.batches:
        generator = torch.Generator(device).manual_seed(1)
        shape = (batch, REGIONS, WIDTH), (batch, 12, WIDTH)
        V, T = (
            torch.nn.functional.normalize(
                torch.randn(size, generator=generator, device=device), dim=2
            )
            .to(dtype)
            .requires_grad_()
            for size in shape
        )
        grad = torch.randn(batch, batch, generator=generator, device=device)
        region_ptr = torch.arange(0, batch * REGIONS + 1, REGIONS)
        word_ptr = torch.arange(0, batch * 12 + 1, 12)

        def ours(V: Any = V, T: Any = T, ptrs: Any = (region_ptr, word_ptr)) -> Tensor:
            return pair_scores(V.flatten(0, 1), T.flatten(0, 1), *ptrs, backend=options.backend)

        pointers = fresh_pointers(batch)

        def fresh(V: Any = V, T: Any = T, pointers: Any = pointers) -> Tensor:
            ptrs = next(pointers)
            return pair_scores(V.flatten(0, 1), T.flatten(0, 1), *ptrs, backend=options.backend)

        forms: dict[str, Callable[[], Tensor]] = {
            "pair_scores": ours,
            "pair_scores, new lengths each step": fresh,
            "eager, obvious": partial(obvious_scores, V, T, PairSettings()),
        }
        if not options.no_compile:
            compiled = torch.compile(obvious_scores, dynamic=False)
            forms["torch.compile, obvious"] = partial(compiled, V, T, PairSettings())
        steps: dict[str, Callable[[], None]] = {}
        wall: dict[str, float] = {}
        on_device: dict[str, float] = {}
        for name, form in forms.items():

            def step(form: Any = form, V: Any = V, T: Any = T, grad: Any = grad) -> None:
                out = form()
                torch.autograd.grad(out, (V, T), grad.to(out.dtype))

            try:
                peak = peak_memory(device, step)
                seconds, fastest = timed(step, device, options.repeats)
            except torch.OutOfMemoryError:
                print(f"{name}, batch {batch}: out of memory", flush=True)
                continue
            finally:
                if device == "cuda":
                    torch.cuda.empty_cache()
            steps[name] = step
            wall[name] = wall_seconds(step, device)
            report.add(
                f"training step, batch {batch}, {name}",
                seconds,
                wall_ms=round(wall[name] * 1e3, 3),
                fastest_ms=round(fastest * 1e3, 3),
                peak_gb=round(peak, 2),
            )
        for name, measured in steps.items():
            seconds = captured_seconds(measured) if device == "cuda" and "new" not in name else None
            if seconds:
                on_device[name] = seconds
                report.add(f"training step, batch {batch}, {name}, on the device", seconds)
        for clock, times in (("wall", wall), ("device", on_device)):
            others = [seconds for name, seconds in times.items() if "obvious" in name]
            if others and "pair_scores" in times:
                ratio = round(min(others) / times["pair_scores"], 2)
                label = f"training step, batch {batch}, {clock} time, best other form"
                report.add(label, min(others), over_pair_scores=ratio)
        if device == "cuda":
            seconds, _ = timed(lambda V=V, T=T, grad=grad: _three_products(V, T), device, 20)
            report.add(f"training step, batch {batch}, the three products alone", seconds)


def fresh_pointers(batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Images of 36 regions and captions of 6 to 18 words, 12 on average, never the same twice."""
    generator = torch.Generator().manual_seed(2)
    region_ptr = torch.arange(0, batch * REGIONS + 1, REGIONS)
    while True:
        longer = torch.randint(0, 7, (batch // 2,), generator=generator)
        counts = torch.cat((12 + longer, 12 - longer))[torch.randperm(batch, generator=generator)]
        yield region_ptr, torch.cat((torch.zeros(1, dtype=torch.long), counts.cumsum(0)))


def _three_products(V: Tensor, T: Tensor) -> None:
    rows, columns = V.detach().flatten(0, 1), T.detach().flatten(0, 1)
    S = rows @ columns.T
    torch.mm(S, columns)
    torch.mm(S.T, rows)


def scan_scores(images: Tensor, captions: Tensor, lengths: list[int], direction: str) -> Tensor:
    """SCAN's evaluation of one shard, a caption at a time against all images, step by step its own.

    As in the released code of Lee et al. 2018: the caption repeated for every image, logits,
    LeakyReLU and L2, softmax, attended vectors, cosines, mean.
    """
    columns = []
    for caption, length in enumerate(lengths):
        words = captions[caption, :length].unsqueeze(0).repeat(len(images), 1, 1)
        query, context, temperature = (
            (words, images, 9.0) if direction == "t2i" else (images, words, 4.0)
        )
        logits = torch.nn.functional.leaky_relu(context @ query.transpose(1, 2), 0.1)
        logits = logits / (logits.pow(2).sum(2, keepdim=True).sqrt() + 1e-8)
        attention = torch.softmax(logits.transpose(1, 2).contiguous() * temperature, dim=2)
        attended = attention @ context
        along = (query * attended).sum(2)
        norms = query.norm(2, dim=2) * attended.norm(2, dim=2)
        columns.append((along / norms.clamp(min=1e-8)).mean(1, keepdim=True))
    return torch.cat(columns, 1)


def scan(report: Report, options: argparse.Namespace) -> None:
    """SCAN's evaluation loop in float32, one shard of 128 x 128, and scaled to the whole."""
    device, shard = options.device, 128
    regions, words, _, word_ptr = make_nodes(shard, shard, device, torch.float32)
    lengths = word_ptr.diff().tolist()
    images = regions.view(shard, REGIONS, WIDTH)
    captions = torch.nn.utils.rnn.pad_sequence([*words.split(lengths)], batch_first=True)
    shards = options.images * options.captions / shard**2
    total = 0.0
    with torch.inference_mode():
        for direction in ("t2i", "i2t"):

            def run(direction: str = direction) -> Tensor:
                return scan_scores(images.to(device), captions.to(device), lengths, direction).cpu()

            seconds, _ = timed(run, device, options.repeats)
            total += seconds
            report.add(f"SCAN's loop, {direction}, a shard of 128 x 128", seconds)
    label = f"{options.images} x {options.captions}"
    report.add(f"SCAN's loop, both directions, scaled to {label}", total * shards)


def check(report: Report, options: argparse.Namespace) -> None:
    """RMS relative error of scores and gradients against float64, and two runs bit by bit."""
    device = options.device
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        for ragged in (False, True):
            regions, words, *ptrs = make_nodes(24, 40, device, dtype, ragged, seed=3)
            grad = torch.randn(24, 40, device=device)
            exact = _gradients(regions.double(), words.double(), ptrs, grad, "torch")
            begin = time.perf_counter()
            ours = _gradients(regions, words, ptrs, grad, options.backend)
            again = _gradients(regions, words, ptrs, grad, options.backend)
            errors = [f"{_error(a, b):.1e}" for a, b in zip(ours, exact, strict=True)]
            same = all(torch.equal(a, b) for a, b in zip(ours, again, strict=True))
            report.add(
                f"check {dtype}{' ragged' if ragged else ''}",
                time.perf_counter() - begin,
                errors=errors,
                repeats_bitwise=same,
            )


def _gradients(
    regions: Tensor, words: Tensor, ptrs: list[Tensor], grad: Tensor, backend: str
) -> list[Tensor]:
    regions, words = (nodes.detach().requires_grad_() for nodes in (regions, words))
    scores = pair_scores(regions, words, *ptrs, backend=backend)
    grads = torch.autograd.grad(scores, (regions, words), grad.to(scores.dtype))
    return [scores.detach(), *grads]


def _error(value: Tensor, exact: Tensor) -> float:
    return float((value.double() - exact.double()).norm() / exact.double().norm())


def tune(report: Report, options: argparse.Namespace) -> None:
    """Variants of the Triton path on an eighth of the evaluation, and of the training step."""
    from resg.kernels.pair_scores.forms import DEFAULT_TUNING
    from resg.kernels.pair_scores.launch import PairLaunch
    from resg.kernels.pair_scores.launch_backward import PairGradient

    settings = PairSettings()
    nodes = make_nodes(options.images // 2, options.captions // 4, options.device, options.dtype)
    product, _ = timed(product_alone(*nodes[:2]), options.device, 3)
    report.add("tune: product alone, an eighth", product)
    variants: list[dict[str, Any]] = [
        {"tile_bytes": size * 2**20} for size in (512, 64, 128, 256, 2048)
    ]
    variants += [{"packed_registers": registers} for registers in (168, 128)]
    variants += [{"runs": runs} for runs in (2, 32)]
    variants += [{"together": True}, {"together": True, "width": 32}, {"width": 32}]
    for variant in variants:
        tile_bytes = variant.pop("tile_bytes", options.tile_mib * 2**20)
        tuning = replace(DEFAULT_TUNING, **variant)

        def run(tuning: Any = tuning, tile_bytes: int = tile_bytes) -> Tensor:
            return PairLaunch(*nodes, settings, tile_bytes, tuning).forward()

        _time_variant(report, f"tune {variant} tile {tile_bytes >> 20} MiB", run, options, product)
    nodes = make_nodes(512, 512, options.device, options.dtype)
    grad = torch.randn(512, 512, device=options.device)
    for warps in (4, 8, 16):
        tuning = replace(DEFAULT_TUNING, backward_warps=warps)

        def back(tuning: Any = tuning) -> tuple[Tensor, Tensor]:
            return PairGradient(*nodes, settings, 2**31, tuning).backward(grad)

        _time_variant(report, f"tune backward of 512, {warps} warps", back, options, product)


def _time_variant(
    report: Report,
    name: str,
    run: Callable[[], object],
    options: argparse.Namespace,
    product: float,
) -> None:
    """Time one variant; one that the compiler or the card refuses is said and passed over."""
    try:
        seconds, fastest = timed(run, options.device, 3)
    except (RuntimeError, ValueError) as error:
        print(f"{name}: {type(error).__name__}: {str(error)[:200]}", flush=True)
        return
    report.add(
        name,
        seconds,
        fastest_ms=round(fastest * 1e3, 2),
        less_product_ms=round((seconds - product) * 1e3, 2),
    )


def profile(report: Report, options: argparse.Namespace) -> None:
    """Where the time of one evaluation goes, kernel by kernel."""
    nodes = make_nodes(options.images // 2, options.captions // 4, options.device, options.dtype)
    pair_scores(*nodes)
    with torch.profiler.profile() as profiler:
        pair_scores(*nodes)
        torch.cuda.synchronize()
    print(profiler.key_averages().table(sort_by="cuda_time_total", row_limit=12))


PARTS = {
    "check": check,
    "evaluation": evaluation,
    "training": training,
    "scan": scan,
    "tune": tune,
    "profile": profile,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure pair_scores.")
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default=None, help="bfloat16 on the GPU, float32 on the CPU")
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--captions", type=int, default=25000)
    parser.add_argument("--directions", nargs="+", default=["both", "t2i", "i2t"])
    parser.add_argument("--even", action="store_true", help="36 regions an image, no ragged ones")
    parser.add_argument("--ragged", action="store_true", help="ragged ones alone")
    parser.add_argument("--packed", action="store_true", help="evaluate by the packed kernel")
    parser.add_argument("--batches", type=int, nargs="+", default=[128, 512])
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tile-mib", type=int, default=512)
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    default = "bfloat16" if options.device == "cuda" else "float32"
    options.dtype = getattr(torch, options.dtype or default)
    report = Report()
    name = torch.cuda.get_device_name() if options.device == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}, {torch.get_num_threads()} threads, {options.dtype}")
    for part in options.parts:
        PARTS[part](report, options)
    if options.json:
        options.json.write_text(json.dumps(report.figures, indent=1))


if __name__ == "__main__":
    main()
