"""resg index PICTURES: a folder of pictures in, an index to search out."""

from pathlib import Path

import click

from resg.options import detector_option, device_option, json_option, matcher_option, shards_option


@click.command()
@click.argument("pictures", required=False, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the index.")
@matcher_option
@shards_option
@click.option("--split", help="With --shards: this split alone.")
@click.option(
    "--captions",
    type=click.Path(path_type=Path, exists=True),
    help="Also index captions, to find them by a picture: a caption file of any format that "
    "parse-captions reads, or a folder of caption shards.",
)
@click.option(
    "--root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="With --shards: folder of the pictures that the ids of the images name.",
)
@detector_option
@click.option("--retry-failed", is_flag=True, help="Try pictures again that failed before.")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Pictures worked on at once.  [default: the cores of this machine]",
)
@device_option
@json_option
def index(
    pictures: Path | None,
    out: Path,
    run: str,
    shards: Path | None,
    split: str | None,
    captions: Path | None,
    root: Path | None,
    detector: str | None,
    retry_failed: bool,
    workers: int | None,
    device: str,
    as_json: bool,
) -> None:
    """Index the folder PICTURES, subfolders included, or bring its index up to date.

    Running it again encodes new and changed pictures alone, and drops those that are gone; it also
    resumes after Ctrl-C.

    \b
    Examples:
      resg index holiday/ --out holiday.index
      resg index holiday/ --out holiday.index --run runs/first
      resg index --run runs/first --shards shards --split test --captions shards --out test.index
    """
    from resg.index.build import update_index
    from resg.index.show import report_json, report_text, shown_progress
    from resg.index.sources import choose_sources
    from resg.run import load

    opened = load(run, device=device, detector=detector)
    sources = choose_sources(opened, pictures, shards, captions, split, root, workers)
    for source in sources:
        if source.notice:
            click.echo(source.notice, err=True)
    with shown_progress() as show:
        report = update_index(out, opened, sources, retry_failed=retry_failed, on_progress=show)
    click.echo(report_json(report) if as_json else report_text(report))
