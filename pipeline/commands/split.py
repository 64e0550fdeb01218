"""pipeline split SHARDS: divide images that have no split into train, val and test."""

from pathlib import Path

import click

from pipeline.options import json_option, shards_argument


@click.command()
@shards_argument
@click.option(
    "--train",
    type=click.FloatRange(0, 1),
    help="Share of the images for training.  [default: the rest]",
)
@click.option(
    "--val", type=click.FloatRange(0, 1), default=0.1, show_default=True, help="For validation."
)
@click.option(
    "--test", type=click.FloatRange(0, 1), default=0.1, show_default=True, help="For the test."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the random order.")
@click.option("--overwrite", is_flag=True, help="Replace other splits that were drawn.")
@json_option
def split(
    shards: Path,
    train: float | None,
    val: float,
    test: float,
    seed: int,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Divide the images in SHARDS into train, val and test, captions with their image.

    For pictures and captions of your own, whose shards name no split. The shards stay as they are:
    the splits are written to SHARDS/splits.json.

    \b
    Example:
      pipeline split shards --val 0.1 --test 0.2
    """
    import json

    from pipeline.shards.splits import draw_splits  # lazy: --help stays fast

    shares = {"train": max(0, 1 - val - test) if train is None else train, "val": val, "test": test}
    images = draw_splits(shards, shares, seed=seed, overwrite=overwrite)
    counted = ", ".join(f"{count:,} {name}" for name, count in images.items())
    click.echo(json.dumps(images) if as_json else f"{counted} images in {shards / 'splits.json'}")
