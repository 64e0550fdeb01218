"""pipeline extract-regions --detector SPEC: pictures in, shards of regions out."""

from pathlib import Path
from typing import Any

import click

from pipeline.options import (
    complete_detector,
    device_option,
    execution_options,
    image_source,
    max_megapixels_option,
    out_option,
)


@click.command()
@image_source
@out_option
@click.option(
    "--detector",
    metavar="SPEC",
    shell_complete=complete_detector,
    help="photos, scenes, onnx:FILE, torchvision:MODEL[,WEIGHTS], detectron2:CONFIG.yaml,WEIGHTS, "
    "detectron2:zoo/NAME or vg-attributes:WEIGHTS.  [default: the manifest's, else photos]",
)
@click.option("--regions", help="36 (a fixed count) or 10:100.  [default: the detector's]")
@device_option
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="Pictures per GPU batch.",
)
@click.option(
    "--half",
    is_flag=True,
    help="Half precision: torchvision or detectron2 with --device cuda.",
)
@click.option(
    "--dtype",
    type=click.Choice(["float16", "float32"]),
    default="float16",
    show_default=True,
    help="Float type of the shards.",
)
@max_megapixels_option
@execution_options(shard_size=256, processes=False)
@click.pass_context
def extract_regions(
    context: click.Context,
    images: list[Any],
    out: Path,
    detector: str | None,
    device: str,
    execution: Any,
    **settings: Any,
) -> None:
    """Find the regions of pictures and write their boxes, features, labels and attributes.

    \b
    Examples:
      pipeline extract-regions --images photos --regions 36 --out shards
      pipeline extract-regions --manifest data/scenes/scenes.yaml --root data/scenes --out shards
      pipeline extract-regions --images photos --detector onnx:my.onnx --out shards
    """
    from pipeline.detectors.domain import domain_warning, sample_pictures  # lazy: fast --help
    from pipeline.detectors.stage import RegionStage, count_shortfall
    from pipeline.execution import run_stage

    if execution.gpus:
        if device not in ("auto", "cuda"):
            raise click.UsageError(
                f"--gpus gives each worker a GPU of its own, so --device {device} cannot be given "
                "with it."
            )
        device = "cuda"
    elif execution.scheduler is not None and device == "auto":
        device = "cpu"  # what this machine has says nothing about the workers
    stage = RegionStage.create(detector or _default(context), device=device, **settings)
    if stage.device != "cpu" and not (execution.gpus or execution.workers or execution.scheduler):
        execution = execution.model_copy(update={"workers": 1})  # they would share one GPU
    click.echo(f"detector: {stage.info.name}, for {stage.info.domain}")
    warning = domain_warning(sample_pictures(images), stage.info)
    if warning:
        click.echo(warning, err=True)
    report = run_stage(stage, images, out, execution)
    minimum, threshold = stage.settings["min_regions"], stage.settings["score_threshold"]
    click.echo(count_shortfall(out, minimum, threshold).message(minimum, threshold), nl=False)
    click.echo(report.summary())


def _default(context: click.Context) -> str:
    """The manifest's own detector, else the embedded one for photographs."""
    from pipeline.detectors.specification import DEFAULT
    from pipeline.manifests.manifest import load_manifest

    manifest = context.params.get("manifest")
    named = load_manifest(manifest).detector if manifest is not None else None
    return named or DEFAULT
