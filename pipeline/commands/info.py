"""pipeline info SHARDS: show what shards contain and what made them."""

from pathlib import Path

import click

from pipeline.options import json_option, shards_argument


@click.command()
@shards_argument
@click.option(
    "--failed",
    is_flag=True,
    help="List the images and captions that failed instead, with the reasons.",
)
@json_option
def info(shards: Path, failed: bool, as_json: bool) -> None:
    """Count the shards, images, regions and captions in SHARDS and show what made them.

    \b
    Examples:
      pipeline info data/f30k-shards
      pipeline info data/f30k-shards --failed
    """
    from pipeline.shards.info import list_failures, summarise_shards  # lazy: --help stays fast

    summary = list_failures(shards) if failed else summarise_shards(shards)
    click.echo(summary.to_json() if as_json else summary.to_table())
