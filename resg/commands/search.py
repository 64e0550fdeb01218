"""resg search INDEX QUERY: the pictures that match a text or a picture best."""

from pathlib import Path
from typing import Any

import click

from resg.options import device_option, json_option, own_matcher_option, root_option


@click.command()
@click.argument("index", type=click.Path(path_type=Path))
@click.argument("text", required=False)
@click.option(
    "--image",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Search by a picture instead of a text.",
)
@click.option(
    "--find",
    type=click.Choice(["images", "captions"]),
    default="images",
    show_default=True,
    help="What to look for; captions must have been indexed.",
)
@click.option(
    "-k", "count", type=click.IntRange(min=1), default=10, show_default=True, help="How many."
)
@click.option(
    "--html",
    "page",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write a page with the pictures, in one file.",
)
@root_option
@own_matcher_option
@click.option(
    "--detector",
    metavar="SPEC",
    help="For --image: the run's detector, where it does not come with the package.",
)
@device_option
@json_option
def search(
    index: Path,
    text: str | None,
    image: Path | None,
    find: Any,
    count: int,
    page: Path | None,
    root: Path | None,
    run: str | None,
    detector: str | None,
    device: str,
    as_json: bool,
) -> None:
    """Find the pictures in INDEX that match TEXT, an English sentence, or a picture best.

    \b
    Examples:
      resg search holiday.index "a man riding a horse"
      resg search holiday.index --image dog.jpg -k 5
      resg search holiday.index "two dogs" --html dogs.html
      resg search test.index --image dog.jpg --find captions
    """
    from resg.search.index import Index
    from resg.search.query import notice_of
    from resg.search.show import answer_json, answer_page, answer_text

    if (text is None) == (image is None):
        raise click.UsageError("expected either a TEXT or --image FILE.")
    opened = Index(index, run, root=root, device=device, detector=detector)
    answer = opened.search(text, image=image, find=find, k=count)
    query = text or str(image)
    if notice := notice_of(answer.unknown):
        click.echo(notice, err=True)
    if page is not None:
        page.write_text(answer_page(opened, query, answer), encoding="utf-8")
    click.echo(answer_json(opened, query, answer) if as_json else answer_text(answer))
