"""pipeline export-detector: one ONNX file from a detectron2 detector."""

from pathlib import Path

import click


@click.command()
@click.option(
    "--detector",
    required=True,
    metavar="SPEC",
    help="detectron2:CONFIG.yaml,WEIGHTS, detectron2:zoo/NAME or vg-attributes:WEIGHTS.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The ONNX file.")
def export_detector(detector: str, out: Path) -> None:
    """Write a detector's network and all that must be known of it into one file.

    It then runs where detectron2 is not installed: --detector onnx:FILE.

    \b
    Example:
      pipeline export-detector --out small.onnx \\
        --detector detectron2:runs/small/config.yaml,runs/small/model_final.pth
    """
    from pipeline.detectors.specification import DetectorSpec  # lazy: --help stays fast
    from pipeline.errors import SettingsError

    spec = DetectorSpec.parse(detector)
    if spec.kind == "onnx":
        raise SettingsError(f"expected a detector of detectron2, {detector} is exported already.")
    network = spec.open()
    from pipeline.detectors.exporting import export_network
    from pipeline.detectors.torch_backend import TorchNetwork

    assert isinstance(network, TorchNetwork)
    size = export_network(network.module, network.info, out)
    info = network.info
    click.echo(
        f"{out}: {size / 1e6:.1f} MB, {len(info.classes)} classes, {len(info.attributes)} "
        f"attributes, features of width {info.feature_width}"
    )
