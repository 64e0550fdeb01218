"""How many pairs a second does training see, and where does the time of a step go?

    python benchmarks/training_speed.py                              # batches of 128 and 512
    python benchmarks/training_speed.py --batch 128 --profile        # time by part of the model
    python benchmarks/training_speed.py --batch 128 --syncs          # what makes the host wait
    torchrun --nproc-per-node 2 benchmarks/training_speed.py --batch 512             # two GPUs
    python benchmarks/training_speed.py --batch 8 --images 64 --width 64 --steps 2   # on a CPU

The trainer itself runs, logging included: `resg-gru` with both directions of node similarity, on
random features (36 regions of 2,048 numbers an image) kept on the GPU, and random captions of 12
words on average with trees and triples as in Flickr30K. A figure is the median of three windows.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from training_profile import Profile, count_syncs

from pipeline.shards.records import CaptionSpan, CaptionTriple, ImageRegions, ParsedCaption
from resg.config import RunSettings
from resg.data.splits import SplitTables
from resg.data.tables import CaptionTable, ImageTable
from resg.data.vocabulary import Vocabulary
from resg.devices import choose_device
from resg.presets import load_settings
from resg.run_folder import RunFolder, create_run
from resg.training.distributed import Processes, joined_processes
from resg.training.trainer import Trainer

REGIONS, FEATURES, CAPTIONS_PER_IMAGE = 36, 2048, 3
WORDS, LABELS = 8000, 45
WINDOWS = 3


class MeasuredError(Exception):
    """All windows are measured; training stops here."""


class Stopwatch:
    """Listens to the trainer: some steps to warm up, windows of steps, then perhaps a profile."""

    def __init__(self, device: torch.device, warmup: int, steps: int, then: Any) -> None:
        self.device, self.warmup, self.steps, self.then = device, warmup, steps, then
        self.marks: list[float] = []

    def __call__(self, event: Mapping[str, Any]) -> None:
        """One step is done."""
        past = event["step"] + 1 - self.warmup
        if past >= 0 and past % self.steps == 0 and len(self.marks) <= WINDOWS:
            if self.device.type == "cuda":
                torch.cuda.synchronize()
            self.marks.append(time.perf_counter())
        if len(self.marks) > WINDOWS and (self.then is None or not self.then.step()):
            raise MeasuredError

    @property
    def seconds_per_step(self) -> list[float]:
        """Of each window."""
        pairs = zip(self.marks, self.marks[1:], strict=False)
        return [(end - start) / self.steps for start, end in pairs]


def random_images(count: int, device: torch.device) -> list[ImageRegions]:
    """Images of 480 x 640 pixels whose boxes and features mean nothing."""
    random = np.random.default_rng(0)
    features = torch.randn(count, REGIONS, FEATURES, dtype=torch.float16, device=device)
    corners = random.uniform((0, 0), (560, 400), (count, REGIONS, 2))
    sides = random.uniform(30, 300, (count, REGIONS, 2))
    boxes = np.concatenate([corners, np.minimum(corners + sides, (640, 480))], -1)
    return [
        ImageRegions(f"image {i}", rows, places, (480, 640))
        for i, (rows, places) in enumerate(
            zip(features.cpu().numpy(), boxes.astype(np.float32), strict=True)
        )
    ]


def random_caption(number: int, random: np.random.Generator) -> ParsedCaption:
    """Words by Zipf's law, heads a few words away, three objects and two triples."""
    length = int(np.clip(random.normal(12.4, 4), 5, 40))
    words = [f"w{min(int(w), WORDS)}" for w in random.zipf(1.3, length)]
    heads = [0, *(max(0, place - int(random.integers(1, 4))) for place in range(1, length))]
    at = sorted(random.choice(length, 5, replace=False).tolist())
    spans = [CaptionSpan(place, place + 1, words[place]) for place in at]
    return ParsedCaption(
        f"caption {number}",
        f"image {number // CAPTIONS_PER_IMAGE}",
        " ".join(words),
        forms=tuple(words),
        lemmas=tuple(words),
        pos=("NOUN",) * length,
        heads=tuple(heads),
        deprels=tuple(f"label{label}" for label in random.integers(0, LABELS, length)),
        objects=(spans[0], spans[2], spans[4]),
        triples=(
            CaptionTriple(0, spans[1], 1, None, "verb"),
            CaptionTriple(1, spans[3], 2, None, "verb"),
        ),
    )


def random_tables(
    settings: RunSettings, num_images: int, device: torch.device
) -> tuple[SplitTables, Vocabulary]:
    """A split of random images and captions, and its vocabulary."""
    random = np.random.default_rng(1)
    cache = "device" if device.type == "cuda" else "ram"
    images = ImageTable(random_images(num_images, device), cache, device)
    parsed = [random_caption(i, random) for i in range(CAPTIONS_PER_IMAGE * num_images)]
    vocabulary = Vocabulary.build(parsed)
    captions = CaptionTable(parsed, images.row, vocabulary, settings.model.textual_graph.edges)
    tables = SplitTables(images, captions, [caption.caption_id for caption in parsed])
    return tables, vocabulary


def stop_after(trainer: Trainer, steps: int) -> None:
    """Let a process that logs nothing stop with the one that holds the stopwatch."""
    take_step, done = trainer.optimiser.step, 0

    def counted(step: int) -> None:
        nonlocal done
        take_step(step)
        done += 1
        if done == steps:
            raise MeasuredError

    trainer.optimiser.step = counted  # type: ignore[method-assign] - of this one trainer


def make_settings(arguments: argparse.Namespace, batch: int) -> RunSettings:
    """The preset's settings with the batch size, the width and what --set changes."""
    changes = [f"train.batch_size={batch}", f"model.width={arguments.width}", *arguments.set]
    if arguments.compile:
        changes.append("train.cuda_graphs=never")
    return load_settings(arguments.preset, changes)


def measure(
    arguments: argparse.Namespace,
    batch: int,
    tables: SplitTables,
    vocabulary: Vocabulary,
    processes: Processes,
) -> None:
    """Train until all windows are timed; print a line, and the profile if one was asked for."""
    settings = make_settings(arguments, batch)
    then = Profile(arguments.device) if arguments.profile else None
    then = count_syncs() if arguments.syncs else then
    stopwatch = Stopwatch(arguments.device, arguments.warmup, arguments.steps, then)
    on_gpu = arguments.device.type == "cuda"
    with tempfile.TemporaryDirectory() as folder:
        data = {"feature_width": FEATURES}
        run = (
            create_run(Path(folder), settings, vocabulary, data)
            if processes.is_first
            else RunFolder(Path(folder), settings, vocabulary, data)
        )
        trainer = Trainer(run, tables, tables, arguments.device, processes, stopwatch)
        if not processes.is_first:
            stop_after(trainer, arguments.warmup + WINDOWS * arguments.steps)
        if arguments.compile:
            compiled: Any = torch.compile(trainer.matcher)  # a module, typed as a callable
            trainer.scorer.encoder.model = compiled
        if isinstance(then, Profile):
            then.label(trainer)
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        try:
            trainer.fit()
        except MeasuredError:
            pass
        else:
            raise SystemExit("too few pairs for all windows: give more --images.")
    if not processes.is_first:
        return
    rates = [batch / seconds for seconds in stopwatch.seconds_per_step]
    memory = torch.cuda.max_memory_allocated() / 2**30 if on_gpu else 0
    print(
        f"batch {batch}: {statistics.median(rates):.0f} pairs/s "
        f"({', '.join(f'{rate:.0f}' for rate in rates)}), "
        f"{1000 * batch / statistics.median(rates):.2f} ms a step, peak {memory:.1f} GB",
        flush=True,
    )
    if then is not None:
        then.print()


def main() -> None:
    """Measure each batch size."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, nargs="+", default=[128, 512])
    parser.add_argument("--images", type=int, default=8192)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--preset", default="resg-gru")
    parser.add_argument("--set", nargs="*", default=[], metavar="PATH=VALUE")
    parser.add_argument("--warmup", type=int, default=10, help="steps before the first window")
    parser.add_argument("--steps", type=int, default=10, help="steps of a window")
    parser.add_argument("--profile", action="store_true", help="then profile some steps")
    parser.add_argument("--syncs", action="store_true", help="then list what waits for the GPU")
    parser.add_argument("--compile", action="store_true", help="torch.compile instead of graphs")
    parser.add_argument("--device", type=choose_device, default="auto")
    arguments = parser.parse_args()
    device = arguments.device
    with joined_processes(device) as processes:
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
        if processes.is_first:
            print(
                f"{processes.count} x {name}, torch {torch.__version__}, {arguments.preset}, "
                f"width {arguments.width}",
                flush=True,
            )
        settings = make_settings(arguments, arguments.batch[0])
        tables, vocabulary = random_tables(settings, arguments.images, device)
        for batch in arguments.batch:
            measure(arguments, batch, tables, vocabulary, processes)


if __name__ == "__main__":
    main()
