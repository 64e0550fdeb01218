"""pipeline export-detector: one ONNX file from a detector of torchvision or detectron2."""

from pathlib import Path

import click


@click.command()
@click.option(
    "--detector",
    required=True,
    metavar="SPEC",
    help="torchvision:MODEL[,WEIGHTS], detectron2:CONFIG.yaml,WEIGHTS, detectron2:zoo/NAME or "
    "vg-attributes:WEIGHTS.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The ONNX file.")
@click.option("--name", help="What to call it.  [default: after the model or config]")
@click.option("--domain", help="The kind of pictures it was trained on, such as 'X-rays of hands'.")
def export_detector(detector: str, out: Path, name: str | None, domain: str | None) -> None:
    """Write a detector's network and its metadata into one file.

    The file then runs where neither torchvision nor detectron2 is installed: --detector onnx:FILE.

    \b
    Examples:
      pipeline export-detector --detector torchvision:fasterrcnn_resnet50_fpn_v2 --out coco.onnx
      pipeline export-detector --out small.onnx \\
        --detector detectron2:runs/small/config.yaml,runs/small/model_final.pth
    """
    from pipeline.detectors.exporting import export_detector as export  # lazy: --help stays fast

    info, size = export(detector, out, name=name, domain=domain)
    click.echo(
        f"{out}: {info.name} for {info.domain}, {size / 1e6:.1f} MB, {len(info.classes)} classes, "
        f"{len(info.attributes)} attributes, features of width {info.feature_width}"
    )
