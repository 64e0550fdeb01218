"""pipeline export-regions SHARDS: write regions in another project's format."""

from pathlib import Path

import click

from pipeline.options import format_option, shards_argument


@click.command()
@shards_argument
@format_option()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="New file (NAME_ims.npy for scan; gzipped if it ends in .gz), or new folder for npz.",
)
@click.option("--split", metavar="NAME", help="Export only the images of this split.")
def export_regions(shards: Path, format_name: str, out: Path, split: str | None) -> None:
    """Write the regions in SHARDS in the format of another project.

    \b
    Example:
      pipeline export-regions data/coco-shards --format butd-tsv --out coco.tsv
    """
    from pipeline.shards.convert import exporting  # lazy: --help stays fast

    report = exporting.export_regions(shards, out, format_name, split=split)
    for notice in report.notices:
        click.echo(f"Notice: {notice}", err=True)
    written = ", ".join(str(path) for path in report.paths)
    click.echo(f"Exported {report.images:,} images to {written}")
