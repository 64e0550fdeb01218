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
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from measuring import Report, peak_memory, timed
from pair_scores_peers import NORMALISE, REGIONS, WIDTH, product_alone, released_scan, scan_loop
from pair_scores_training import training
from torch import Tensor

from resg.kernels.pair_scores import PairSettings, pair_scores
from resg.kernels.pair_scores.checks import PairInputs

MATRIX_TFLOPS = 790.0  # measured bf16 product of 8192 cubed on the H200 this was tuned on


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


def evaluation(report: Report, options: argparse.Namespace) -> None:
    """All images against all captions, forward only."""
    device, dtype = options.device, options.dtype
    for ragged in (False, True):
        if (ragged and options.even) or (not ragged and options.ragged):
            continue
        nodes = make_nodes(options.images, options.captions, device, dtype, ragged)
        regions, words = nodes[:2]
        flop = 2.0 * len(regions) * len(words) * WIDTH
        product, _ = timed(partial(product_alone, regions, words), device, options.repeats)
        label = f"{options.images} x {options.captions}" + (" ragged" if ragged else "")
        report.add(f"product alone, {label}", product, tflops=round(flop / product / 1e12, 2))
        for direction in options.directions if not ragged else ("both",):

            def run(nodes: Any = nodes, direction: Any = direction) -> Tensor:
                return pair_scores(
                    *nodes,
                    direction=direction,
                    normalise=NORMALISE,
                    backend=options.backend,
                )

            with torch.inference_mode():
                peak = peak_memory(device, run)
                seconds, fastest = timed(run, device, options.repeats)
            bound = flop / (MATRIX_TFLOPS * 1e12)
            report.add(
                f"pair_scores {direction}, {label}",
                seconds,
                fastest_ms=round(fastest * 1e3, 2),
                tflops=round(flop / seconds / 1e12, 2),
                over_product=round(seconds / product, 3),
                share_of_bound=round(bound / seconds, 3) if device == "cuda" else "-",
                peak_gb=round(peak, 2),
            )


def scan(report: Report, options: argparse.Namespace) -> None:
    """SCAN's evaluation in float32, one shard of 128 x 128, and scaled to the whole."""
    device, shard = options.device, 128
    scores = released_scan(options.released) if options.released else scan_loop
    name = "SCAN's released functions" if options.released else "SCAN's loop"
    regions, words, region_ptr, word_ptr = make_nodes(shard, shard, device, torch.float32)
    lengths = word_ptr.diff().tolist()
    images = regions.view(shard, REGIONS, WIDTH)
    captions = torch.nn.utils.rnn.pad_sequence([*words.split(lengths)], batch_first=True)
    shards = options.images * options.captions / shard**2
    total = 0.0
    warnings.filterwarnings("ignore", "Implicit dimension choice for softmax")
    with torch.inference_mode():
        for direction in ("t2i", "i2t"):

            def run(direction: Any = direction) -> Tensor:
                return scores(images, captions, lengths, direction).cpu()

            seconds, _ = timed(run, device, options.repeats)
            total += seconds
            ours = pair_scores(
                *(regions, words, region_ptr, word_ptr),
                direction=direction,
                normalise=NORMALISE,
                backend=options.backend,
            )
            difference = float((ours.cpu() - run()).abs().max())
            report.add(
                f"{name}, {direction}, a shard of 128 x 128",
                seconds,
                largest_difference=f"{difference:.1e}",
            )
    label = f"{options.images} x {options.captions}"
    report.add(f"{name}, both directions, scaled to {label}", total * shards)


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
    scores = pair_scores(regions, words, *ptrs, normalise=NORMALISE, backend=backend)
    grads = torch.autograd.grad(scores, (regions, words), grad.to(scores.dtype))
    return [scores.detach(), *grads]


def _error(value: Tensor, exact: Tensor) -> float:
    return float((value.double() - exact.double()).norm() / exact.double().norm())


def tune(report: Report, options: argparse.Namespace) -> None:
    """Variants of the Triton path on an eighth of the evaluation, and of the training step."""
    from resg.kernels.pair_scores.triton_backend import Passes
    from resg.kernels.pair_scores.triton_backend.tuning import DEFAULT_TUNING

    settings = PairSettings(normalise=NORMALISE)
    nodes = make_nodes(options.images // 2, options.captions // 4, options.device, options.dtype)
    product, _ = timed(partial(product_alone, *nodes[:2]), options.device, 3)
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
            return Passes(PairInputs.checked(*nodes, settings, tile_bytes), tuning).forward()

        _time_variant(report, f"tune {variant} tile {tile_bytes >> 20} MiB", run, options, product)
    nodes = make_nodes(512, 512, options.device, options.dtype)
    grad = torch.randn(512, 512, device=options.device)
    for warps in (4, 8, 16):
        tuning = replace(DEFAULT_TUNING, backward_warps=warps)

        def back(tuning: Any = tuning) -> tuple[Tensor, Tensor]:
            return Passes(PairInputs.checked(*nodes, settings, 2**31), tuning).backward(grad)

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
    pair_scores(*nodes, normalise=NORMALISE)
    with torch.profiler.profile() as profiler:
        pair_scores(*nodes, normalise=NORMALISE)
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
    parser.add_argument("--released", type=Path, help="model.py of SCAN's released code, for scan")
    parser.add_argument("--batches", type=int, nargs="+", default=[128, 512])
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tile-mib", type=int, default=512)
    parser.add_argument("--skip", default="", help="forms that training leaves out: parts of names")
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
