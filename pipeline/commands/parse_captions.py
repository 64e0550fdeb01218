"""pipeline parse-captions: captions to words, dependency arcs and relation triples in shards."""

from pathlib import Path
from typing import Any

import click

from pipeline.options import caption_source, execution_options, out_option


@click.command()
@caption_source
@out_option
@click.option(
    "--model",
    metavar="NAME_OR_PATH",
    help="spaCy model: an installed package, a folder, or embedded.  "
    "[default: en_core_web_sm where installed, else embedded]",
)
@execution_options(shard_size=10_000, processes=True, on_error="skip")
def parse_captions(captions: list[Any], out: Path, model: str | None, execution: Any) -> None:
    r"""Parse captions into words, dependency arcs and relation triples.

    \b
    Examples:
      pipeline parse-captions --captions captions.tsv --out data/captions
      pipeline parse-captions --manifest data_manifests/flickr30k.yaml \
          --root data/flickr30k --out data/f30k-captions --workers 2
    """
    from pipeline.execution import run_stage
    from pipeline.parsing.stage import ParseCaptions

    report = run_stage(ParseCaptions.with_model(model), captions, out, execution)
    click.echo(report.summary())
