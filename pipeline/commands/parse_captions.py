"""pipeline parse-captions: parse captions and write words, arcs and triples to shards."""

from pathlib import Path
from typing import Any

import click

from pipeline.options import caption_source, execution_options, model_option, out_option


@click.command()
@caption_source
@out_option
@model_option
@execution_options(shard_size=5_000, processes=None)
def parse_captions(captions: list[Any], out: Path, model: str, execution: Any) -> None:
    """Parse captions into words, dependency arcs and relation triples.

    \b
    Examples:
      pipeline parse-captions --captions captions.tsv --out data/captions
      pipeline parse-captions --manifest flickr30k.yaml --root data/f30k --out shards
    """
    from pipeline.execution import run_stage
    from pipeline.parsing.stage import ParseCaptions

    stage = ParseCaptions(model, owns_process=execution.scheduler is None)
    report = run_stage(stage, captions, out, execution)
    click.echo(report.summary())
