"""Train whichever kind of detector the options ask for."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import SettingsError


@dataclass(frozen=True)
class TrainingReport:
    """What came of a training.

    Attributes:
        metrics: by part and name.
        evaluated_on: the split or folder.
        detector: what to give to `--detector`.
    """

    metrics: Mapping[str, Mapping[str, float | None]]
    evaluated_on: str
    detector: str

    def to_json(self) -> str:
        """The metrics."""
        return json.dumps(self.metrics)

    def to_text(self) -> str:
        """One line per part, and what the detector is called from now on."""
        lines = [
            f"{part} on {self.evaluated_on}: "
            + ", ".join(f"{name} {value}" for name, value in values.items())
            for part, values in self.metrics.items()
        ]
        return "\n".join([*lines, f"detector: {self.detector}"])


def run_training(
    *,
    config: str,
    out: Path,
    manifest: Path | None,
    root: Path | None,
    instances: Path | None,
    photographs: Sequence[str],
    eval_photographs: str | None,
    train_split: str,
    eval_split: str,
    loader_workers: int | None,
    **settings: Any,
) -> TrainingReport | None:
    """Train with torchvision where photographs are given, with detectron2 where a manifest is.

    Returns:
        The report; None in all processes of torchrun but the first.

    Raises:
        SettingsError: neither of the two, both, or options of the other.
        PipelineError: see `train_detector` and `train_photo_detector`.
    """
    is_main = os.environ.get("RANK", "0") == "0"
    if photographs:
        if manifest or root or instances or loader_workers is not None:
            raise SettingsError(
                "expected --photographs or --manifest with --root, got both: --photographs says "
                "where pictures and boxes are, and reads them without --loader-workers."
            )
        metrics = _train_on_photographs(config, out, photographs, eval_photographs, settings)
        name = eval_photographs.partition(",")[0] if eval_photographs else ""
        report = TrainingReport({"bbox": metrics} if metrics else {}, name, f"photos:{out}")
        return report if is_main else None
    if manifest is None or root is None:
        raise SettingsError(
            "expected --photographs FOLDER,BOXES (with --config photos) or --manifest and --root, "
            "got neither; see pipeline train-detector --help."
        )
    if config == "photos" or eval_photographs:
        raise SettingsError(
            "--config photos and --eval-photographs go with --photographs FOLDER,BOXES, got "
            "--manifest; name the photographs, or another --config."
        )
    from pipeline.detectors.detectron2 import training
    from pipeline.manifests.manifest import load_manifest

    found = training.train_detector(
        load_manifest(manifest).images(root),
        instances or root / "instances.json",
        out,
        training.TrainingSettings(config=config, loader_workers=loader_workers, **settings),
        train_split=train_split,
        eval_split=eval_split,
    )
    detector = f"detectron2:{out / 'config.yaml'},{out / 'model_final.pth'}"
    return TrainingReport(found, eval_split, detector) if is_main else None


def _train_on_photographs(
    config: str,
    out: Path,
    photographs: Sequence[str],
    eval_photographs: str | None,
    settings: Mapping[str, Any],
) -> dict[str, float]:
    from pipeline.detectors.torchvision import require_torchvision

    require_torchvision()
    from pipeline.detectors.training.pictures import PictureSource
    from pipeline.detectors.training.runs import RunSettings, train_photo_detector

    return train_photo_detector(
        [PictureSource.parse(text) for text in photographs],
        out,
        RunSettings(config=config, **settings),
        evaluation=PictureSource.parse(eval_photographs) if eval_photographs else None,
    )
