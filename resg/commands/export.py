"""resg export: a trained run as a small folder, to be used elsewhere."""

from pathlib import Path

import click

from resg.options import RunPath


@click.command()
@click.option("--run", type=RunPath(), required=True, help="Run folder.")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder of the exported run."
)
def export(run: Path, out: Path) -> None:
    """Write settings, vocabulary and best weights of a run, in half precision.

    \b
    Example:
      resg export --run runs/first --out matcher
    """
    from resg.run_folder import export_run, open_run

    weights = export_run(open_run(run), out)
    click.echo(f"Wrote {out}: {weights.stat().st_size / 1e6:.1f} MB of weights.")
    click.echo(f"Next: resg evaluate --run {out} --shards SHARDS")
