"""pipeline show-caption TEXT: show the parse of one caption and its triples."""

from pathlib import Path

import click

from pipeline.options import json_option, model_option


@click.command()
@click.argument("caption")
@model_option
@click.option(
    "--svg",
    type=click.Path(dir_okay=False, path_type=Path),
    help="SVG file to draw the dependency arcs in.",
)
@json_option
def show_caption(caption: str, model: str, svg: Path | None, as_json: bool) -> None:
    """Show the words, arcs and relation triples of CAPTION.

    \b
    Examples:
      pipeline show-caption "a man riding a horse"
      pipeline show-caption "two dogs on a bench" --svg arcs.svg
    """
    from pipeline.parsing.embedded import EMBEDDED, import_spacy_alone

    if model == EMBEDDED:
        import_spacy_alone()
    from pipeline.parsing.display import arcs_svg, as_json_text, triple_table, word_table
    from pipeline.parsing.parser import parse_caption

    doc = parse_caption(caption, model)
    click.echo(as_json_text(doc) if as_json else f"{word_table(doc)}\n\n{triple_table(doc)}")
    if svg is not None:
        svg.parent.mkdir(parents=True, exist_ok=True)
        svg.write_text(arcs_svg(doc), encoding="utf-8")
        click.echo(f"arcs drawn in {svg}", err=as_json)
