"""resg report RUN [RUN ...]: one page about runs."""

from pathlib import Path

import click

from resg.options import device_option, pairs_option, parser_option, shards_option, split_option


@click.command()
@click.argument(
    "runs",
    nargs=-1,
    required=True,
    metavar="RUN [RUN ...]",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.html",
    help="The page to write: one file, which needs no network.",
)
@shards_option
@split_option
@click.option(
    "--images",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of the pictures, subfolders included, to show those that were confused.",
)
@pairs_option
@click.option(
    "--probes/--no-probes",
    default=True,
    show_default=True,
    help="Also score perturbed captions and graphs, as resg probe does.",
)
@parser_option
@device_option
def report(
    runs: tuple[Path, ...],
    out: Path,
    shards: Path | None,
    split: str,
    images: Path | None,
    pairs: Path | None,
    probes: bool,
    model: str,
    device: str,
) -> None:
    """Write curves, recall, ranks, probes, the worst confusions, data and versions of runs.

    A RUN may be a folder of seeds; its figures are means with their deviations.

    \b
    Examples:
      resg report runs/first --out report.html --images photos
      resg report runs/vse++ runs/resg-gru --out report.html --pairs data/scenes/hard_pairs.json
    """
    from resg.devices import choose_device
    from resg.report.collecting import collect_reports
    from resg.report.page import report_page
    from resg.webpage import check_page_path

    check_page_path(out)
    reports = collect_reports(
        runs,
        split,
        choose_device(device),
        shards=shards,
        pairs=pairs,
        model=model if probes else None,
    )
    out.write_text(report_page(reports, images), encoding="utf-8")
    click.echo(f"Made: {out.resolve()}")
