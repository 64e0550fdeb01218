"""pipeline show-regions IMAGE: the picture with the regions that a detector finds."""

from pathlib import Path

import click

from pipeline.options import complete_detector, device_option


@click.command()
@click.argument("image", type=click.Path(path_type=Path))
@click.option(
    "--detector",
    default="photos",
    show_default=True,
    metavar="SPEC",
    shell_complete=complete_detector,
    help="As for extract-regions.",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="The picture to write; its name says the format (.png, .jpg, ...).",
)
@click.option("--regions", help="36 (a fixed count) or 10:100.  [default: the detector's]")
@device_option
def show_regions(image: Path, detector: str, out: Path, regions: str | None, device: str) -> None:
    """Draw the regions of IMAGE, with their labels, attributes and scores beside it.

    \b
    Examples:
      pipeline show-regions photos/beach.jpg --regions 36 --out regions.png
      pipeline show-regions data/scenes/images/000001.png --detector scenes --out regions.png
    """
    from pipeline.detectors.domain import domain_warning
    from pipeline.detectors.drawing import draw_regions, save_picture  # lazy: --help stays fast
    from pipeline.detectors.specification import open_detector
    from pipeline.images import load_image

    opened = open_detector(detector, regions=regions, device=device)
    picture = load_image(image)
    warning = domain_warning([picture], opened.info)
    if warning:
        click.echo(warning, err=True)
    (found,) = opened.detect([picture])
    save_picture(draw_regions(picture, found, opened.info), out)
    filled = f", {found.num_filled} of them only to reach the minimum" if found.num_filled else ""
    click.echo(
        f"{out}: {len(found.boxes)} regions{filled}, found by {opened.info.name}, for "
        f"{opened.info.domain}"
    )
