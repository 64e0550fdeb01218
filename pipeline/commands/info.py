"""pipeline info SHARDS: show what shards contain and what made them."""

from pathlib import Path

import click

from pipeline.options import json_option, shards_argument


@click.command()
@shards_argument
@json_option
def info(shards: Path, as_json: bool) -> None:
    """Count the shards, images, regions and captions in SHARDS and show what made them.

    \b
    Example:
      pipeline info data/f30k-shards
    """
    from pipeline.shards.info import summarise_shards  # lazy: --help stays fast

    summary = summarise_shards(shards)
    click.echo(summary.to_json() if as_json else summary.to_table())
