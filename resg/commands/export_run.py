"""resg export-run RUN: what is needed to use a run, without checkpoints and paths."""

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to create.")
@click.option("--half", is_flag=True, help="Store weights in half precision, in half the bytes.")
def export_run(run: Path, out: Path, half: bool) -> None:
    """Copy the run folder RUN without what only training needs, to pass it on.

    \b
    Example:
      resg export-run runs/first --half --out first-matcher
    """
    from resg.run_folder import export_run, open_run

    export_run(open_run(run), out, half=half)
    click.echo(f"{out}: {sum(file.stat().st_size for file in out.rglob('*')) / 1e6:.1f} MB")
