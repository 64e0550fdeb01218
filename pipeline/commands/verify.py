"""pipeline verify SHARDS: check that shards are valid and belong together."""

from pathlib import Path

import click

from pipeline.options import json_option, shards_argument


@click.command()
@shards_argument
@click.option("--full", is_flag=True, help="Also compare every byte with its SHA-256.")
@click.option(
    "--manifest",
    type=click.Path(path_type=Path),
    help="Manifest whose images and captions the shards should contain.",
)
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    help="Folder of the manifest's files.  [default: the manifest's folder]",
)
@json_option
def verify(
    shards: Path, full: bool, manifest: Path | None, root: Path | None, as_json: bool
) -> None:
    """Check the shards in SHARDS and list every problem; exit with 1 if there is one.

    \b
    Example:
      pipeline verify data/f30k-shards --full
    """
    from pipeline.shards.verify import verify_shards  # lazy: --help stays fast

    report = verify_shards(shards, full=full, manifest=manifest, root=root)
    click.echo(report.to_json() if as_json else report.to_table())
    raise SystemExit(0 if report.ok else 1)
