"""pipeline show-regions IMAGE: the picture with the regions that a detector finds."""

from pathlib import Path

import click


@click.command()
@click.argument("image", type=click.Path(path_type=Path))
@click.option(
    "--detector",
    default="photos",
    show_default=True,
    metavar="SPEC",
    help="As for extract-regions.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The PNG file.")
@click.option("--regions", help="36 (a fixed count) or 10:100.  [default: the detector's]")
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Where the network runs.",
)
def show_regions(image: Path, detector: str, out: Path, regions: str | None, device: str) -> None:
    """Draw the regions of IMAGE, with their labels, attributes and scores beside it.

    \b
    Examples:
      pipeline show-regions photos/beach.jpg --regions 36 --out regions.png
      pipeline show-regions data/scenes/images/000001.png --detector scenes --out regions.png
    """
    from pipeline.detectors.domain import domain_warning
    from pipeline.detectors.drawing import draw_regions  # lazy: --help stays fast
    from pipeline.detectors.specification import open_detector
    from pipeline.images import load_image

    opened = open_detector(detector, regions=regions, device=device)
    picture = load_image(image)
    warning = domain_warning([picture], opened.info)
    if warning:
        click.echo(warning, err=True)
    (found,) = opened.detect([picture])
    draw_regions(picture, found, opened.info).save(out, format="PNG")
    filled = f", {found.num_filled} of them only to reach the minimum" if found.num_filled else ""
    click.echo(
        f"{out}: {len(found.boxes)} regions{filled}, found by {opened.info.name}, for "
        f"{opened.info.domain}"
    )
