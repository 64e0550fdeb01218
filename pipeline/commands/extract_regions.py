"""pipeline extract-regions --detector SPEC: pictures in, shards of regions out."""

from pathlib import Path
from typing import Any

import click

from pipeline.options import execution_options, image_source, max_megapixels_option, out_option


@click.command()
@image_source
@out_option
@click.option(
    "--detector",
    metavar="SPEC",
    help="scenes, onnx:FILE, detectron2:CONFIG.yaml,WEIGHTS, detectron2:zoo/NAME or "
    "vg-attributes:WEIGHTS.  [default: scenes, for the manifest of the generated scenes]",
)
@click.option("--regions", help="36 (a fixed count) or 10:100.  [default: the detector's]")
@click.option(
    "--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Where."
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="Pictures that a GPU gets at a time.",
)
@click.option("--half", is_flag=True, help="Compute in half precision, on a GPU with detectron2.")
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
      pipeline extract-regions --manifest data/scenes/scenes.yaml --root data/scenes --out shards
      pipeline extract-regions --images photos --detector onnx:my.onnx --regions 36 --out shards
    """
    from pipeline.detectors.stage import RegionStage, count_filled  # lazy: --help stays fast
    from pipeline.execution import run_stage

    if execution.gpus:
        device = "cuda"
    elif device == "cuda" and execution.workers is None and execution.scheduler is None:
        execution = execution.model_copy(update={"workers": 1})  # they would share one GPU
    stage = RegionStage.create(detector or _default(context), device=device, **settings)
    report = run_stage(stage, images, out, execution)
    click.echo(report.summary())
    threshold = stage.settings["score_threshold"]
    filled = count_filled(out, threshold) if report.records else 0
    if filled:
        click.echo(
            f"{filled:,} images have fewer than {stage.settings['min_regions']} regions of score "
            f"{threshold:g}; the next best fill them up."
        )


def _default(context: click.Context) -> str:
    """The embedded detector for the scenes; no other data set has one of its own."""
    from pipeline.manifests.manifest import load_manifest

    manifest = context.params.get("manifest")
    if manifest is not None and load_manifest(manifest).name == "scenes":
        return "scenes"
    raise click.UsageError(
        "expected --detector, as this is not the manifest of the generated scenes; "
        "such as --detector onnx:FILE."
    )
