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
    help="JSON lines file to write; gzipped if it ends in .gz.",
)
@click.option("--plain", is_flag=True, help="Write the text and the triples without the ids.")
@click.option("--overwrite", is_flag=True, help="Replace --out if it exists.")
def export_triples(shards: Path, out: Path, plain: bool, overwrite: bool) -> None:
    """Write the captions in SHARDS as JSON lines, one line per caption.

    \b
    A line is
      {"caption_id": "1.jpg#0", "image_id": "1.jpg", "caption": "...",
       "triples": [["man", "ride", "horse"], ["man", "is", "young"]]}
    An object without a triple is a list of one string. The order is that of the shards.
    \b
    Example:
      pipeline export-triples data/f30k-captions --out triples.jsonl
    """
    from pipeline.parsing.export import write_triples

    count = write_triples(shards, out, plain=plain, overwrite=overwrite)
    click.echo(f"{count:,} captions in {out}")
