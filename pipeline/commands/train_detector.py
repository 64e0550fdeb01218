"""pipeline train-detector: train a Faster R-CNN on your own boxes."""

from pathlib import Path
from typing import Any

import click

from pipeline.options import device_option, json_option


@click.command()
@click.option("--manifest", type=click.Path(path_type=Path), help="Manifest of the data set.")
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    help="Folder that paths in the manifest are relative to.",
)
@click.option(
    "--instances",
    type=click.Path(path_type=Path),
    help="Boxes in COCO's format, attributes optional.  [default: ROOT/instances.json]",
)
@click.option(
    "--photographs",
    multiple=True,
    metavar="FOLDER,BOXES[,CAPTIONS]",
    help="For --config photos, instead of a manifest: photographs, their boxes in COCO's format, "
    "and captions in Karpathy's; may be repeated.",
)
@click.option(
    "--eval-photographs",
    metavar="FOLDER,BOXES",
    help="For --config photos: photographs to evaluate on.",
)
@click.option(
    "--config",
    default="small-c4",
    show_default=True,
    help="photos or a recipe like it (needs torchvision); small-c4, r101-c4 or a config file "
    "(needs detectron2).",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="Run folder.",
)
@click.option("--weights", type=click.Path(path_type=Path), help="Checkpoint to start from.")
@click.option(
    "--iterations", type=click.IntRange(min=1), help="Training steps.  [default: the config's]"
)
@click.option("--batch", type=click.IntRange(min=1), help="Pictures per step, over all GPUs.")
@click.option(
    "--learning-rate",
    type=float,
    help="Peak learning rate.  [default: the config's; detectron2's is scaled with --batch]",
)
@device_option
@click.option("--loader-workers", type=click.IntRange(min=0), help="Processes that read pictures.")
@click.option("--train-split", default="train", show_default=True, help="Split to train on.")
@click.option("--eval-split", default="val", show_default=True, help="Split to evaluate on.")
@click.option(
    "--seed",
    default=0,
    show_default=True,
    help="Random seed of the weights and the order of pictures.",
)
@click.option("--resume", is_flag=True, help="Continue from the run's last checkpoint.")
@json_option
def train_detector(as_json: bool, **options: Any) -> None:
    """Train a detector on the boxes of a data set, and evaluate it on another split.

    \b
    Examples:
      pipeline make-scenes --out data/scenes --images 2000 --seed 11
      pipeline train-detector --manifest data/scenes/scenes.yaml --root data/scenes \\
        --out runs/small
      pipeline train-detector --config photos --weights efficientnet-lite2.pth \\
        --photographs coco/images,coco/boxes.json --out runs/photos

    \b
    On several GPUs:
      torchrun --nproc-per-node 4 --no-python pipeline train-detector ...
    """
    from pipeline.detectors.training_command import run_training  # lazy: --help stays fast

    report = run_training(**options)
    if report is not None:
        click.echo(report.to_json() if as_json else report.to_text())
