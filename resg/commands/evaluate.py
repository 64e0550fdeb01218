"""resg evaluate: Recall@K of a run, of an ensemble, or of anybody's score matrix."""

import json
from pathlib import Path

import click

from resg.options import device_option, json_option, shards_option, split_option


@click.command()
@click.option(
    "--run",
    "runs",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A run folder; several are an ensemble, or with --seeds runs of different seeds.",
)
@click.option(
    "--matrix",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Score this .npy of images x captions, five captions an image in order, instead.",
)
@shards_option
@split_option
@click.option(
    "--protocol",
    type=click.Choice(["full", "1k", "5x1k"]),
    default="full",
    show_default=True,
    help="All images, the first 1,000, or the mean of five folds of 1,000.",
)
@click.option("--seeds", is_flag=True, help="Mean and deviation over the runs, no ensemble.")
@device_option
@json_option
def evaluate(
    runs: tuple[Path, ...],
    matrix: Path | None,
    shards: Path | None,
    split: str,
    protocol: str,
    seeds: bool,
    device: str,
    as_json: bool,
) -> None:
    """Rank images for captions and captions for images, by exact and pessimistic ranks.

    \b
    Examples:
      resg evaluate --run runs/first
      resg evaluate --run runs/a --run runs/b              (their ensemble)
      resg evaluate --run runs/s/seed-0 --run runs/s/seed-1 --seeds
      resg evaluate --matrix scores.npy --json
    """
    from resg.evaluate import evaluate_scores, load_matrix
    from resg.experiment import choose_device, evaluate_runs, summary
    from resg.progress import metrics_table

    if (matrix is None) == (not runs):
        raise click.UsageError("expected either --run RUN (one or more) or --matrix FILE.")
    if matrix is not None:
        evaluations = [evaluate_scores(*load_matrix(matrix), protocol)]
    else:
        groups = [[run] for run in runs] if seeds else [list(runs)]
        target = choose_device(device)
        evaluations = [evaluate_runs(g, split, protocol, target, shards) for g in groups]
    figures = summary(evaluations)
    click.echo(json.dumps(figures) if as_json else metrics_table({"all": figures}))
