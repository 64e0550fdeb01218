"""resg train: shards in, a run folder out."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from resg.options import complete_preset, complete_setting, device_option, shards_option


@click.command()
@shards_option
@click.option("--out", type=click.Path(path_type=Path), help="Run folder to create.")
@click.option(
    "--preset",
    default="resg-gru",
    show_default=True,
    metavar="NAME_OR_FILE",
    shell_complete=complete_preset,
    help="vse++, vse-inf, scan-t2i, scan-i2t, resg-gru, resg-bert or resg-no-edges, or a YAML file "
    "of settings (docs/training.md lists both).",
)
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="PATH=VALUE",
    shell_complete=complete_setting,
    help="Change a setting, such as train.epochs=10; may be repeated. docs/training.md lists all.",
)
@click.option(
    "--seeds",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Number of runs that differ in their seed alone: train.seed and those after it, in the "
    "folders seed-N of --out.",
)
@click.option(
    "--resume", type=click.Path(path_type=Path), metavar="RUN", help="Run folder to resume."
)
@device_option
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print one JSON object per line for the start, each step and epoch, and the end.",
)
@click.pass_context
def train(
    context: click.Context,
    shards: Path | None,
    out: Path | None,
    preset: str,
    changes: tuple[str, ...],
    seeds: int,
    resume: Path | None,
    device: str,
    as_json: bool,
) -> None:
    """Train a matcher on the train split; the best weights are chosen on val.

    \b
    Examples:
      resg train --shards data/scenes-shards --out runs/first
      resg train --shards data/scenes-shards --out runs/vse --preset vse++ --set train.epochs=10
      resg train --resume runs/first
      torchrun --nproc-per-node 2 -m resg train --shards data/scenes-shards --out runs/two
    """
    from resg.devices import choose_device
    from resg.jobs import resume_run, train_run, train_seeds
    from resg.presets import load_settings
    from resg.progress import TrainingTable

    target = choose_device(device)
    with TrainingTable() as table:
        show = _print_json if as_json else table.show
        if resume is not None:
            _refuse_beside_resume(context)
            resume_run(resume, target, shards, show)
        elif shards is None or out is None:
            raise click.UsageError("expected --shards and --out, or --resume RUN.")
        elif seeds > 1:
            train_seeds(shards, out, load_settings(preset, changes), seeds, target, show)
        else:
            train_run(shards, out, load_settings(preset, changes), target, show)


def _print_json(event: Mapping[str, Any]) -> None:
    click.echo(json.dumps(event))


def _refuse_beside_resume(context: click.Context) -> None:
    """A resumed run keeps its settings, so options that would change them are errors."""
    for name in ("out", "preset", "changes", "seeds"):
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            option = "--set" if name == "changes" else f"--{name}"
            raise click.UsageError(
                f"--resume continues with the run's own settings, so {option} cannot be given with "
                "it. Leave it out, or train a new run."
            )
