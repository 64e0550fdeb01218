"""Settings of a detector's training; `photos.yaml` beside this holds those of the embedded one."""

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.detectors.base import SelectionDefaults
from pipeline.detectors.training.augmentation import AugmentationSettings
from pipeline.detectors.training.losses import LossSettings
from pipeline.detectors.training.network import NetworkSettings
from pipeline.errors import SettingsError

PHOTOS = Path(__file__).with_name("photos.yaml")


class OptimiserSettings(BaseModel):
    """AdamW (Loshchilov and Hutter 2019) with warmup and cosine decay."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    iterations: int = Field(20000, ge=1, description="Steps.")
    batch: int = Field(32, ge=1, description="Pictures in a step, over all processes.")
    learning_rate: float = Field(8e-4, gt=0, description="Peak learning rate.")
    trunk_share: float = Field(0.5, ge=0, description="Share of it that the trunk gets.")
    weight_decay: float = Field(0.05, ge=0, description="Of matrices; norms and biases have none.")
    warmup_steps: int = Field(500, ge=0, description="Steps in which the learning rate rises.")
    clip: float = Field(5.0, gt=0, description="Largest norm of the gradient.")
    averaging: float = Field(0.9995, ge=0, lt=1, description="Decay of the average of the weights.")


class TrainingRecipe(BaseModel):
    """All that decides what a training gives, but its data and seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: NetworkSettings = NetworkSettings.model_validate({})
    augmentation: AugmentationSettings = AugmentationSettings.model_validate({})
    losses: LossSettings = LossSettings.model_validate({})
    optimiser: OptimiserSettings = OptimiserSettings.model_validate({})
    short_side: int = Field(416, ge=32, description="Pixels of the short side in use.")
    max_side: int = Field(672, ge=32, description="Pixels of the long side in use, at most.")
    selection: SelectionDefaults = SelectionDefaults.model_validate({"score_threshold": 0.1})
    stored_side: int = Field(256, ge=32, description="Pictures are kept as squares of this side.")
    min_word_count: int = Field(20, ge=1, description="Pictures a caption word must occur in.")


def read_recipe(path: Path = PHOTOS) -> TrainingRecipe:
    """A recipe from a YAML file.

    Raises:
        SettingsError: no such file, no YAML, or an unknown or impossible setting.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        return TrainingRecipe.model_validate(content)
    except OSError as error:
        raise SettingsError(f"expected a recipe in {path}, it cannot be read: {error}.") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise SettingsError(f"{path}, {where}: {fault['msg']}.") from error
