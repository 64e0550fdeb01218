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
    help="Evaluate this .npy of images x captions, with its ids beside it as --save-matrix writes "
    "them, or five captions for each image in order.",
)
@click.option(
    "--save-matrix",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.npy",
    help="Write the scores of the whole split, and the ids of its images and captions to "
    "FILE.ids.json.",
)
@click.option(
    "--owners",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="For --matrix: one line per caption with its image, as a row from 0 or an id; .npy too.  "
    "[default: five captions for each image, in order]",
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
    save_matrix: Path | None,
    owners: Path | None,
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
      resg evaluate --run runs/first --save-matrix scores.npy
      resg evaluate --matrix scores.npy --json
      resg evaluate --matrix coco.npy --owners image_of_caption.txt
    """
    from resg.evaluation.protocols import evaluate_matrix
    from resg.progress import evaluation_text

    if (matrix is None) == (not runs):
        raise click.UsageError("expected either --run RUN (one or more) or --matrix FILE.")
    if matrix is None and owners is not None:
        raise click.UsageError("--owners is for --matrix: a run knows the images of its captions.")
    if save_matrix is not None and each and len(runs) > 1:
        raise click.UsageError(
            "expected one matrix to save, --each scores several: name one --run, or leave out "
            "--each for their ensemble."
        )
    if matrix is not None:
        if pairs is not None or save_matrix is not None:
            option = "--save-matrix" if pairs is None else "--pairs"
            raise click.UsageError(f"expected --run RUN with {option}, got --matrix.")
        rows = {matrix.name: evaluate_matrix(matrix, protocol, owners)}
    else:
        from resg.devices import choose_device
        from resg.jobs import evaluate_rows  # starts PyTorch, which a matrix does not need

        rows = evaluate_rows(
            runs,
            split,
            protocol,
            choose_device(device),
            each=each,
            shards=shards,
            pairs=pairs,
            matrix=save_matrix,
        )
    if as_json:
        click.echo(json.dumps(rows if each else next(iter(rows.values()))))
    else:
        click.echo(evaluation_text(rows))
