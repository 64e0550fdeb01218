"""resg train: shards in, a run folder out."""

from pathlib import Path

import click
from click.core import ParameterSource

from resg.options import device_option, shards_option


@click.command()
@shards_option
@click.option("--out", type=click.Path(path_type=Path), help="Run folder to create.")
@click.option(
    "--preset", default="resg-gru", show_default=True, help="Name of a preset, or YAML file."
)
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="PATH=VALUE",
    help="Change a setting; may be repeated.",
)
@click.option(
    "--seeds",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Number of seeds to train with, one run each.",
)
@click.option(
    "--resume", type=click.Path(path_type=Path), metavar="RUN", help="Run folder to resume."
)
@device_option
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
        if resume is not None:
            _refuse_beside_resume(context)
            resume_run(resume, target, shards, table.show)
        elif shards is None or out is None:
            raise click.UsageError("expected --shards and --out, or --resume RUN.")
        elif seeds > 1:
            train_seeds(shards, out, load_settings(preset, changes), seeds, target, table.show)
        else:
            train_run(shards, out, load_settings(preset, changes), target, table.show)


def _refuse_beside_resume(context: click.Context) -> None:
    """A resumed run keeps its settings, so options that would change them are errors."""
    for name in ("out", "preset", "changes", "seeds"):
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            option = "--set" if name == "changes" else f"--{name}"
            raise click.UsageError(
                f"--resume continues with the run's own settings, so {option} cannot be given with "
                "it. Leave it out, or train a new run."
            )
