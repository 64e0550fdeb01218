"""resg explain: why a picture and a caption match, as a page or a picture."""

from pathlib import Path

import click

from resg.options import detector_option, device_option, matcher_option, parser_option


@click.command()
@matcher_option
@click.option(
    "--image",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The picture.",
)
@click.option("--caption", required=True, metavar="TEXT", help="The caption, an English sentence.")
@click.option(
    "--other",
    "others",
    multiple=True,
    metavar="TEXT",
    help="A wrong caption to compare with; may be repeated.  [default: the caption with subject "
    "and object exchanged]",
)
@click.option(
    "--candidates",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="More wrong captions, one per line; the one with the highest score is shown.",
)
@click.option(
    "--out",
    "page",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.html",
    help="The page to write: one file, which needs no network.",
)
@click.option(
    "--png",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.png",
    help="The picture to write.",
)
@click.option(
    "--shards",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Take the regions of the image from these shards, where its id is the name of the file, "
    "instead of detecting them.",
)
@detector_option
@parser_option
@device_option
def explain(
    run: str,
    image: Path,
    caption: str,
    others: tuple[str, ...],
    candidates: Path | None,
    page: Path | None,
    png: Path | None,
    shards: Path | None,
    detector: str | None,
    model: str,
    device: str,
) -> None:
    """Show which regions and words a score comes from, what relations did, and a wrong caption.

    \b
    Examples:
      resg explain --image dog.jpg --caption "a dog catches a ball" --out dog.html
      resg explain --run runs/first --image dog.jpg --caption "a dog catches a ball" \\
        --other "a cat catches a ball" --png dog.png
    """
    from resg.explain.page import save_explanation
    from resg.explain.stored_regions import stored_regions
    from resg.explain.words import explanation_text
    from resg.live import caption_lines
    from resg.run import load

    if page is None and png is None:
        raise click.UsageError("expected --out FILE.html, --png FILE.png, or both.")
    opened = load(run, device=device, detector=detector, parser=model)
    wrong = [*others, *(caption_lines(candidates) if candidates else ())]
    regions, names = (
        (image, None) if shards is None else stored_regions(opened.folder, shards, image)
    )
    explanation = opened.explain(regions, caption, wrong or None, names)
    save_explanation(explanation, image, page, png, run)
    click.echo(explanation_text(explanation))
    for path in filter(None, (page, png)):
        click.echo(f"Made: {path}")
