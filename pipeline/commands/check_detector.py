"""pipeline check-detector FILE.onnx: does an exported network meet the contract of a detector?"""

from pathlib import Path

import click

from pipeline.options import json_option


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--image", type=click.Path(path_type=Path), help="Picture to run.  [default: coloured noise]"
)
@json_option
def check_detector(file: Path, image: Path | None, as_json: bool) -> None:
    """Check metadata, inputs, outputs and graph of FILE, and run it on pictures of several sizes.

    docs/regions.md describes what a file must hold. The exit status is 1 where a fault is found.

    \b
    Example:
      pipeline check-detector my.onnx --image photos/beach.jpg
    """
    from pipeline.detectors import checking  # lazy: --help stays fast
    from pipeline.images import load_image

    report = checking.check_detector(file, None if image is None else load_image(image))
    click.echo(report.to_json() if as_json else report.to_text())
    raise SystemExit(0 if report.is_ok else 1)
