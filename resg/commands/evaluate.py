"""resg evaluate: Recall@K of runs, of an ensemble, or of any score matrix."""

import json
from pathlib import Path
from typing import Any

import click

from resg.options import device_option, json_option, pairs_option, shards_option, split_option


@click.command()
@click.option(
    "--run",
    "runs",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Run folder; several are an ensemble. A folder of seeds gives mean and deviation.",
)
@click.option("--each", is_flag=True, help="One row for each run, no ensemble.")
@click.option(
    "--matrix",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Evaluate this .npy of images x captions, five captions for each image in order.",
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
@pairs_option
@device_option
@json_option
def evaluate(
    runs: tuple[Path, ...],
    each: bool,
    matrix: Path | None,
    shards: Path | None,
    split: str,
    protocol: Any,
    pairs: Path | None,
    device: str,
    as_json: bool,
) -> None:
    """Compute Recall@K of images for captions and captions for images; ties count against the run.

    \b
    Examples:
      resg evaluate --run runs/first
      resg evaluate --run runs/a --run runs/b              (their ensemble)
      resg evaluate --run runs/a --run runs/b --each       (one row for each)
      resg evaluate --matrix scores.npy --json
    """
    from resg.evaluation.protocols import evaluate_scores, load_matrix
    from resg.progress import metrics_table

    if (matrix is None) == (not runs):
        raise click.UsageError("expected either --run RUN (one or more) or --matrix FILE.")
    if matrix is not None:
        rows = {matrix.name: evaluate_scores(*load_matrix(matrix), protocol).as_json()}
    else:
        from resg.devices import choose_device
        from resg.jobs import evaluate_runs  # starts PyTorch, which a matrix does not need

        target = choose_device(device)
        are_distinct = len({run.name for run in runs}) == len(runs)
        names = [run.name if are_distinct else str(run) for run in runs]
        groups = (
            {name: [run] for name, run in zip(names, runs, strict=True)}
            if each
            else {" + ".join(names): runs}
        )
        rows = {
            name: evaluate_runs(group, split, protocol, target, shards, pairs)
            for name, group in groups.items()
        }
    if as_json:
        click.echo(json.dumps(rows if each else next(iter(rows.values()))))
    else:
        click.echo(metrics_table(rows))
