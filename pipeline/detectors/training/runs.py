"""Train a detector of photographs and leave a run folder that `--detector photos:RUN` opens."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from torch import distributed

from pipeline.detectors.base import RegionDetector
from pipeline.detectors.devices import choose_device
from pipeline.detectors.exporting import export_network
from pipeline.detectors.selection import Selection
from pipeline.detectors.training.evaluation import MOST_REGIONS, evaluate_detector
from pipeline.detectors.training.pictures import PictureSource, read_pictures
from pipeline.detectors.training.run_folder import INFO, RECIPE, WEIGHTS, open_run
from pipeline.detectors.training.settings import TrainingRecipe, read_recipe
from pipeline.detectors.training.trainer import Processes, detector_info, train
from pipeline.errors import SettingsError

EXPORTED, EVALUATION = "detector.onnx", "evaluation.json"


@dataclass(frozen=True)
class RunSettings:
    """What a user may say beside the recipe; None leaves what the recipe says.

    Attributes:
        config: `photos`, or path of a recipe.
        weights: ImageNet weights of the trunk (`.pth`), or an earlier run's (`.safetensors`).
        iterations: steps.
        batch: pictures in a step, over all processes.
        learning_rate: peak.
        device: auto, cpu, cuda or cuda:N.
        seed: of weights, order and augmentation.
        resume: go on from the run's last checkpoint.
    """

    config: str = "photos"
    weights: Path | None = None
    iterations: int | None = None
    batch: int | None = None
    learning_rate: float | None = None
    device: str = "auto"
    seed: int = 0
    resume: bool = False

    def recipe(self) -> TrainingRecipe:
        """The recipe with the user's changes."""
        recipe = read_recipe() if self.config == "photos" else read_recipe(Path(self.config))
        changes = {
            "iterations": self.iterations,
            "batch": self.batch,
            "learning_rate": self.learning_rate,
        }
        given = {name: value for name, value in changes.items() if value is not None}
        return recipe.model_copy(update={"optimiser": recipe.optimiser.model_copy(update=given)})


def train_photo_detector(
    sources: Sequence[PictureSource],
    out: Path,
    settings: RunSettings,
    *,
    evaluation: PictureSource | None = None,
) -> dict[str, float]:
    """Train on photographs, and evaluate on others.

    The folder gets `recipe.yaml`, `detector.json`, `model.safetensors` (the averaged weights),
    `detector.onnx` and, where there is something to evaluate on, `evaluation.json`.

    Args:
        sources: photographs to train on.
        out: the run folder.
        settings: what the user says.
        evaluation: photographs with true boxes.

    Returns:
        COCO's measures (see `evaluate_detector`); empty without `evaluation`, and in all processes
        but the first.

    Raises:
        DataError: pictures, boxes or weights are missing or damaged.
        SettingsError: an impossible setting, or a folder that holds another run.
        MissingExtraError: no onnx or pycocotools.
    """
    recipe = settings.recipe()
    device = choose_device(settings.device, "torch")
    if (out / WEIGHTS).exists() and not settings.resume:
        raise SettingsError(
            f"{out} holds a run already; add --resume to go on with it, or name another --out."
        )
    pictures = read_pictures(sources, side=recipe.stored_side, min_word_count=recipe.min_word_count)
    info = detector_info(pictures.classes, recipe)
    out.mkdir(parents=True, exist_ok=True)
    with Processes.join(device) as processes:
        if processes.rank == 0:
            content = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
            (out / RECIPE).write_text(content, encoding="utf-8")
            (out / INFO).write_text(info.model_dump_json(indent=2) + "\n", encoding="utf-8")
        train(
            pictures,
            recipe,
            out,
            processes,
            weights=settings.weights,
            seed=settings.seed,
            resume=settings.resume,
        )
        metrics: dict[str, float] = {}
        if processes.rank == 0:
            network = open_run(out, device=device)
            export_network(network.module, info, out / EXPORTED, half_weights=True)
            if evaluation is not None:
                most = Selection(MOST_REGIONS, MOST_REGIONS, nms_threshold=0.5)
                detector = RegionDetector(network, most, {})
                metrics = evaluate_detector(detector, evaluation.images, evaluation.instances)
                (out / EVALUATION).write_text(json.dumps(metrics, indent=2) + "\n")
        if processes.count > 1:
            distributed.barrier()  # the others must not leave while the first still evaluates
    return metrics
