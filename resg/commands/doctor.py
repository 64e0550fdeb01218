"""resg doctor: versions, devices, kernel backends, and whether a run and its shards are intact."""

from pathlib import Path

import click

from resg.options import json_option, shards_option


@click.command()
@click.option(
    "--run",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Run folder to check; a folder of seeds has several.",
)
@shards_option
@json_option
def doctor(run: Path | None, shards: Path | None, as_json: bool) -> None:
    """Print versions, devices and kernel backends; with --run, check the run and its shards.

    \b
    Example:
      resg doctor --run runs/first
    """
    if shards is not None and run is None:
        raise click.UsageError(
            "expected --run RUN beside --shards; `pipeline verify` checks shards alone."
        )
    from resg.doctor import diagnose

    diagnosis = diagnose(run, shards)
    click.echo(diagnosis.to_json() if as_json else diagnosis.to_table())
    for fault in () if as_json else diagnosis.faults:
        click.echo(f"Error: {fault}", err=True)
    raise SystemExit(1 if diagnosis.faults else 0)
