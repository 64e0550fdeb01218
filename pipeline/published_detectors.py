"""Detectors that somebody published: where each is to be had and how it is laid out."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from pipeline.manifests.manifest import ManifestPart, Text, load_model


class PublishedDetector(ManifestPart):
    """One checkpoint that somebody published."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]*$")] = Field(
        description="Short name: lower-case letters, digits, - and _."
    )
    file: Text = Field(description="Name of the checkpoint's file.")
    dialect: Literal["caffe", "detectron2"] = Field(
        description="caffe: background first, two objectness logits an anchor; "
        "detectron2: background last, one logit."
    )
    architecture: Text = Field(description="Network, and its configuration file where it has one.")
    classes: int = Field(ge=1, description="Object classes, without the background.")
    attributes: int = Field(ge=0, description="Attribute classes, without `none`; 0 for no head.")
    trained_on: Text = Field(description="Data set of the training.")
    boxes: Text | None = Field(default=None, description="Boxes an image that it is meant for.")
    published: Text = Field(description="Where the file is to be had.")
    licence: Text = Field(description="Terms of the weights, as their publisher states them.")
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = Field(
        default=None, description="SHA-256 of the file, where it is known."
    )
    md5_prefix: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{6}$")] | None = Field(
        default=None, description="First digits of the file's MD5, where its name holds them."
    )


class DetectorManifest(ManifestPart):
    """All of them."""

    detectors: tuple[PublishedDetector, ...] = Field(min_length=1, description="The detectors.")

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [detector.name for detector in self.detectors]
        if len(set(names)) != len(names):
            raise ValueError("two detectors have the same name")
        return self


def load_detectors(path: Path) -> dict[str, PublishedDetector]:
    """The published detectors by name.

    Raises:
        SettingsError: the file is missing, not YAML or not such a manifest; each fault is named.
    """
    manifest = load_model(path, DetectorManifest, "manifest of detectors")
    return {detector.name: detector for detector in manifest.detectors}
