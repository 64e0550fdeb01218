"""pipeline export-triples SHARDS: write one JSON line per caption, with its triples."""

from pathlib import Path

import click

from pipeline.options import shards_argument


@click.command()
@shards_argument
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="JSON lines file to write.",
)
def export_triples(shards: Path, out: Path) -> None:
    """Write the captions in SHARDS as JSON lines, one line per caption.

    \b
    A line is {"caption": "...", "triples": [["man", "ride", "horse"], ["man", "is", "young"]]};
    an object without a triple is a list of one string. The order is that of the shards.
    \b
    Example:
      pipeline export-triples data/f30k-captions --out triples.jsonl
    """
    from pipeline.parsing.export import write_triples

    count = write_triples(shards, out)
    click.echo(f"{count:,} captions in {out}")
