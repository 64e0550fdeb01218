r"""How fast do captions become shards, beside the bare model?

    OMP_NUM_THREADS=1 python benchmarks/parsing_speed.py \
        ../shared/data/captions/flickr30k_train.tsv.gz

One thread a process is what the workers of `parse-captions` have; they also keep freed memory, by
the variables of `pipeline.execution.cluster.WORKER_ENVIRONMENT`. First, in one process: `nlp.pipe`
alone, then the stage with its shard written, on the same captions. Then all of it as
`parse-captions` does, from the file to shards, with workers that load the model themselves. Peak
memory is that of the largest process.
"""

import resource
import tempfile
import time
from pathlib import Path

import click

from pipeline.execution import ExecutionSettings, run_stage
from pipeline.manifests.caption_text import clean_text
from pipeline.manifests.manifest import file_captions
from pipeline.parsing.parser import BATCH, cached_parser
from pipeline.parsing.stage import ParseCaptions
from pipeline.shards.writer import write_shard

WARM_UP = 500
"""Captions parsed before the clock starts; neither side pays for the model's first words."""


def bare_seconds(model, items):
    nlp = cached_parser(model)
    texts = [clean_text(item.text) for item in items]
    start = time.perf_counter(), time.process_time()
    for _ in nlp.pipe(texts, batch_size=BATCH):
        pass
    return time.perf_counter() - start[0], time.process_time() - start[1]


def stage_seconds(stage, items, folder):
    start = time.perf_counter(), time.process_time()
    write_shard(
        folder / "captions-00000.h5",
        "captions",
        stage.process(items, 1),
        settings=stage.settings,
        fingerprint={},
        split=items[0].split,
    )
    return time.perf_counter() - start[0], time.process_time() - start[1]


def peak_mebibytes():
    """Peak memory of this process and of its largest child."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return [resource.getrusage(w).ru_maxrss / 1024 for w in who]


@click.command()
@click.argument("captions", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", default="embedded", show_default=True)
@click.option("--workers", default=2, show_default=True)
@click.option("--limit", type=int, default=10_000, show_default=True, help="In one process.")
@click.option("--rounds", default=3, show_default=True, help="Of the comparison in one process.")
def main(captions: Path, model: str, workers: int, limit: int, rounds: int) -> None:
    """Parse the captions of a TSV file."""
    items = file_captions(captions)
    stage = ParseCaptions(model)
    bare_seconds(model, items[:WARM_UP])
    some = items[:limit]
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            place = Path(folder) / str(number)
            place.mkdir()
            bare, staged = bare_seconds(model, some), stage_seconds(stage, some, place)
            print(
                f"one process, {len(some):,} captions: nlp.pipe {len(some) / bare[0]:,.0f} a "
                f"second, stage {len(some) / staged[0]:,.0f}; ratio of times "
                f"{staged[0] / bare[0]:.2f}, of processor times {staged[1] / bare[1]:.2f}",
                flush=True,
            )
        execution = ExecutionSettings(
            workers=workers, processes=True, shard_size=5_000, on_error="skip", progress=False
        )
        start = time.perf_counter()
        run_stage(stage, file_captions(captions), Path(folder) / "shards", execution)
        seconds = time.perf_counter() - start
    own, child = peak_mebibytes()
    print(
        f"{workers} workers, {len(items):,} captions from file to shards: {seconds:.1f} s, "
        f"{len(items) / seconds:,.0f} a second; peak memory {own:,.0f} MiB here, "
        f"{child:,.0f} MiB in a worker"
    )


if __name__ == "__main__":
    main()
