"""Train a Faster R-CNN with detectron2's trainer, and evaluate it.

On several GPUs: torchrun --nproc-per-node 4 --no-python pipeline train-detector ...
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed

from pipeline.detectors.detectron2.configuration import named_config, require_detectron2
from pipeline.detectors.devices import choose_device
from pipeline.detectors.instances import Instances, read_instances
from pipeline.errors import DataError, SettingsError
from pipeline.manifests.manifest import ImageItem


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of a training run; None keeps the config's value.

    Attributes:
        config: name of a config of the package, or path of a config file.
        weights: checkpoint to start from.
        iterations: training steps.
        batch: pictures per step, over all GPUs.
        learning_rate: peak; where it is None the config's is scaled with the batch, for AdamW with
            its square root.
        device: auto, cpu, cuda or cuda:N.
        loader_workers: processes that read pictures.
        seed: of the initial weights and of the order of pictures.
        resume: continue from the last checkpoint of the run.
    """

    config: str = "small-c4"
    weights: Path | None = None
    iterations: int | None = None
    batch: int | None = None
    learning_rate: float | None = None
    device: str = "auto"
    loader_workers: int | None = None
    seed: int = 0
    resume: bool = False


def train_detector(
    items: Sequence[ImageItem],
    instances: Path,
    out: Path,
    settings: TrainingSettings,
    *,
    train_split: str = "train",
    eval_split: str = "val",
) -> dict[str, Any]:
    """Train on one split and evaluate on another.

    The run folder gets `config.yaml`, `model_final.pth` and `metrics.json`, so that
    `detectron2:RUN/config.yaml,RUN/model_final.pth` is a detector.

    Args:
        items: the pictures.
        instances: their boxes in COCO's format.
        out: the run folder.
        settings: of the run.
        train_split: split to train on.
        eval_split: split to evaluate on; it may be empty.

    Returns:
        Metrics on `eval_split`: AP, AP50, AP75 and the share of right attributes; empty where the
        split is.

    Raises:
        MissingExtraError: no detectron2.
        SettingsError: an impossible setting, or a folder that holds another run.
        DataError: the boxes are missing or do not fit the pictures.
    """
    require_detectron2()
    from pipeline.detectors.detectron2.trainer import DetectorTrainer, register_split

    by_split = {
        split: read_instances(instances, [item for item in items if item.split == split])
        for split in (train_split, eval_split)
    }
    train = by_split[train_split]
    if not any(record["annotations"] for record in train.records):
        raise DataError(
            f"expected pictures with boxes in the split {train_split!r}, there are none in "
            f"{instances}; name another with --train-split."
        )
    _start_process_group(choose_device(settings.device, "torch"))
    config = training_config(train, out, settings)
    _prepare_folder(config, out, settings.resume)
    for purpose, split in (("train", train_split), ("eval", eval_split)):
        register_split(f"resg_{purpose}", by_split[split])
    trainer = DetectorTrainer(config)
    trainer.resume_or_load(resume=settings.resume)
    trainer.train()
    if not by_split[eval_split].records:
        return {}
    metrics = _plain(DetectorTrainer.test(config, trainer.model))
    if is_main():
        (out / "evaluation.json").write_text(json.dumps(metrics, indent=2) + "\n")
    return metrics


def training_config(train: Instances, out: Path, settings: TrainingSettings) -> Any:
    """The full config of a run: the named one with the classes of the data and the settings."""
    config = named_config(settings.config)
    device = choose_device(settings.device, "torch")
    model, solver = config.MODEL, config.SOLVER
    if solver.OPTIMIZER not in ("SGD", "AdamW"):
        raise SettingsError(
            f"expected SGD or AdamW as SOLVER.OPTIMIZER, got {solver.OPTIMIZER!r} in "
            f"{settings.config}."
        )
    model.CLASSES = list(train.classes)
    model.ROI_HEADS.NUM_CLASSES = len(train.classes)
    model.ATTRIBUTES.NAMES = list(train.attributes)
    model.ATTRIBUTES.GROUPS = list(train.groups)
    model.DEVICE = device
    if settings.weights is not None:
        model.WEIGHTS = str(settings.weights)
    if settings.batch is not None:
        if settings.learning_rate is None:
            larger = settings.batch / solver.IMS_PER_BATCH
            solver.BASE_LR *= larger if solver.OPTIMIZER == "SGD" else larger**0.5
        solver.IMS_PER_BATCH = settings.batch
    if settings.learning_rate is not None:
        solver.BASE_LR = settings.learning_rate
    if settings.iterations is not None:
        share = settings.iterations / solver.MAX_ITER
        # in a short run some coincide with one another or with the start: detectron2 refuses them
        solver.STEPS = tuple(sorted({int(step * share) for step in solver.STEPS} - {0}))
        solver.WARMUP_ITERS = min(solver.WARMUP_ITERS, max(1, settings.iterations // 10))
        solver.MAX_ITER = settings.iterations
    solver.AMP.ENABLED = device != "cpu"
    if settings.loader_workers is not None:
        config.DATALOADER.NUM_WORKERS = settings.loader_workers
    config.DATASETS.TRAIN, config.DATASETS.TEST = ("resg_train",), ("resg_eval",)
    config.SEED = settings.seed
    config.OUTPUT_DIR = str(out)
    return config


def _prepare_folder(config: Any, out: Path, resume: bool) -> None:
    from detectron2.utils.env import seed_all_rng

    has_run = (out / "last_checkpoint").exists()
    if has_run and not resume:
        raise SettingsError(
            f"{out} holds a run already; add --resume to continue it, or name another --out."
        )
    if is_main():
        out.mkdir(parents=True, exist_ok=True)
        saved = config.clone()
        saved.MODEL.DEVICE = "cpu"  # whoever opens it later names the device
        saved.MODEL.WEIGHTS = ""
        (out / "config.yaml").write_text(saved.dump(), encoding="utf-8")
    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
    seed_all_rng(config.SEED + int(os.environ.get("RANK", "0")))


def _start_process_group(device: str) -> None:
    """Join the process group of torchrun, if it started this process."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or distributed.is_initialized():
        return
    from detectron2.engine import defaults
    from detectron2.utils import comm

    if device != "cpu":
        torch.cuda.set_device(device)
    else:  # detectron2 names a GPU to DistributedDataParallel even where the model is on none
        defaults.create_ddp_model = partial(defaults.create_ddp_model, device_ids=None)
    distributed.init_process_group("gloo" if device == "cpu" else "nccl")
    comm.create_local_process_group(int(os.environ["LOCAL_WORLD_SIZE"]))


def is_main() -> bool:
    """Whether this is the only process, or the first one of torchrun."""
    return os.environ.get("RANK", "0") == "0"


def _plain(metrics: Any) -> dict[str, Any]:
    """Metrics in JSON's types; NaN and infinity become None."""
    plain: dict[str, Any] = {}
    for name, value in metrics.items():
        if isinstance(value, dict):
            plain[name] = _plain(value)
        else:
            plain[name] = round(float(value), 4) if np.isfinite(value) else None
    return plain
