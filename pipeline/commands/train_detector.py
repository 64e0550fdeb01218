"""pipeline train-detector: train a Faster R-CNN on your own boxes."""

from pathlib import Path
from typing import Any

import click

from pipeline.options import json_option


@click.command()
@click.option("--manifest", required=True, type=click.Path(path_type=Path), help="Manifest.")
@click.option(
    "--root",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder that the manifest's paths start from.",
)
@click.option(
    "--instances",
    type=click.Path(path_type=Path),
    help="Boxes in COCO's format, attributes optional.  [default: ROOT/instances.json]",
)
@click.option(
    "--config",
    default="small-c4",
    show_default=True,
    help="small-c4, r101-c4, or a config file of detectron2.",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="Run folder.",
)
@click.option("--weights", type=click.Path(path_type=Path), help="Checkpoint to start from.")
@click.option(
    "--iterations", type=click.IntRange(min=1), help="Training steps; the config's without."
)
@click.option("--batch", type=click.IntRange(min=1), help="Pictures per step, over all GPUs.")
@click.option(
    "--learning-rate",
    type=float,
    help="Peak; scaled with --batch without.",
)
@click.option(
    "--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Device."
)
@click.option("--loader-workers", type=click.IntRange(min=0), help="Processes that read pictures.")
@click.option("--train-split", default="train", show_default=True, help="Split to train on.")
@click.option("--eval-split", default="val", show_default=True, help="Split to evaluate on.")
@click.option(
    "--seed",
    default=0,
    show_default=True,
    help="Of weights and picture order.",
)
@click.option("--resume", is_flag=True, help="Continue from the run's last checkpoint.")
@json_option
def train_detector(
    manifest: Path,
    root: Path,
    instances: Path | None,
    out: Path,
    train_split: str,
    eval_split: str,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train a detector on the boxes of a data set, and evaluate it on another split.

    \b
    Example:
      pipeline make-scenes --out data/scenes --images 2000 --seed 11
      pipeline train-detector --manifest data/scenes/scenes.yaml --root data/scenes \\
        --out runs/small

    On several GPUs, with --device cuda:
    torchrun --nproc-per-node 4 --no-python pipeline train-detector ...
    """
    import json

    from pipeline.detectors.detectron2 import training  # lazy: --help stays fast
    from pipeline.manifests.manifest import load_manifest

    metrics = training.train_detector(
        load_manifest(manifest).images(root),
        instances or root / "instances.json",
        out,
        training.TrainingSettings(**settings),
        train_split=train_split,
        eval_split=eval_split,
    )
    if not training.is_main():
        return
    if as_json:
        click.echo(json.dumps(metrics))
        return
    for part, values in metrics.items():
        listed = ", ".join(f"{name} {value}" for name, value in values.items())
        click.echo(f"{part} on {eval_split}: {listed}")
    click.echo(f"detector: detectron2:{out / 'config.yaml'},{out / 'model_final.pth'}")
