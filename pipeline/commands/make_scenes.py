"""pipeline make-scenes --out DIR --images N --seed S: generate a captioned data set."""

from pathlib import Path

import click


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of the data set: new, empty, or with the same data set.",
)
@click.option(
    "--images",
    "num_images",
    type=int,
    default=2000,
    show_default=True,
    help="Number of pictures: an even number, at least 20.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Random seed; equal seeds give equal bytes.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Number of processes; does not change the data.  [default: all cores]",
)
def make_scenes(out: Path, num_images: int, seed: int, workers: int | None) -> None:
    """Draw pictures of shapes in relations, with captions, boxes and hard pairs.

    \b
    Example:
      pipeline make-scenes --out data/scenes --images 2000 --seed 1
    """
    from pipeline.scenes import dataset  # lazy: --help stays fast

    report = dataset.make_scenes(out, num_images=num_images, seed=seed, workers=workers)
    counts = ", ".join(f"{number} {split}" for split, number in report.images.items())
    verb = "already made" if report.was_there else "made"
    click.echo(f"{verb}: {counts} images, {report.num_hard_pairs} hard pairs")
    click.echo(f"manifest: {out / 'scenes.yaml'}")
