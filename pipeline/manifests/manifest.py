"""Manifests: the images, captions, splits and licence of a data set, as YAML files.

Your own pictures need no manifest: `picture_folder` and `file_captions` give the same items.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic import model_validator as validator

from pipeline.errors import DataError, SettingsError
from pipeline.manifests.caption_files import CaptionedImage, CaptionFormat, read_captions
from pipeline.text_files import existing_path

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


@dataclass(frozen=True)
class ImageItem:
    """An image to process."""

    image_id: str
    path: Path
    split: str

    @property
    def id(self) -> str:
        """The item's id in shards and messages."""
        return self.image_id

    @property
    def identity(self) -> tuple[str, ...]:
        """What resuming compares: not the path, so a picture may be repaired and a folder moved."""
        return (self.image_id, self.split)


@dataclass(frozen=True)
class CaptionItem:
    """A caption to process."""

    caption_id: str
    image_id: str
    text: str
    split: str

    @property
    def id(self) -> str:
        """The item's id in shards and messages."""
        return self.caption_id

    @property
    def identity(self) -> tuple[str, ...]:
        """What resuming compares: the text too, as the stage reads nothing else."""
        return (self.caption_id, self.image_id, self.split, self.text)


class ManifestPart(BaseModel):
    """Base of the manifest's parts: frozen, and a misspelt key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CaptionFile(ManifestPart):
    """One file of captions."""

    file: Text = Field(description="Path of the file, relative to the root; may be .gz.")
    format: CaptionFormat = Field(description="Format of the file.")
    split: Text | None = Field(
        default=None, description="Split of all its images; default: as the file says."
    )
    ids: Text | None = Field(
        default=None, description="scan-txt: file of image ids, relative to the root."
    )
    captions_per_image: int = Field(
        default=5, ge=1, description="scan-txt: number of captions per image."
    )


class SplitCounts(ManifestPart):
    """The size of a split in a complete copy."""

    images: int = Field(ge=0, description="Number of images.")
    captions: int | None = Field(default=None, ge=0, description="Number of captions, if known.")


class Manifest(ManifestPart):
    """A data set: its name, licence and source, the layout of its files, and its size."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]*$")] = Field(
        description="Short name: lower-case letters, digits, - and _."
    )
    title: Text = Field(description="Full name.")
    licence: Text = Field(description="Licence of the images and of the captions.")
    citation: Text = Field(description="What to cite.")
    published: tuple[Text, ...] = Field(description="Where the files are published.")
    image_pattern: Text | None = Field(
        default=None,
        description="Path of an image relative to the root, with {file}, {folder} and {split}; "
        "absent if the data set has no pictures.",
    )
    caption_files: tuple[CaptionFile, ...] = Field(min_length=1, description="Files of captions.")
    detector: Text | None = Field(
        default=None,
        description="Detector for its pictures, as after --detector; photos if absent.",
    )
    splits: dict[Text, SplitCounts] = Field(min_length=1, description="Expected counts per split.")

    @validator(mode="after")
    def _pattern_and_splits_exist(self) -> Self:
        if self.image_pattern is not None:
            try:
                self.image_pattern.format(file="", folder="", split="")
            except (KeyError, IndexError, ValueError) as error:
                raise ValueError(
                    f"image_pattern knows {{file}}, {{folder}} and {{split}}, not {error}"
                ) from error
            if "{file}" not in self.image_pattern:
                raise ValueError(
                    "image_pattern needs {file}, otherwise all images have the same path"
                )
        for caption_file in self.caption_files:
            if caption_file.split is not None and caption_file.split not in self.splits:
                raise ValueError(
                    f"{caption_file.file} names split {caption_file.split!r}, "
                    f"the manifest has {', '.join(self.splits)}"
                )
        return self

    def images(self, root: Path) -> list[ImageItem]:
        """The images of the data set below `root`, in the order of its caption files.

        Raises:
            DataError: a caption file is missing or damaged.
            SettingsError: the data set has no pictures.
        """
        return [self.image_item(root, image) for image in self.captioned_images(root)]

    def captions(self, root: Path) -> list[CaptionItem]:
        """The captions of the data set, in the order of its caption files.

        Raises:
            DataError: a caption file is missing or damaged.
        """
        return caption_items(self.captioned_images(root))

    def captioned_images(
        self, root: Path, *, keep_undecodable: bool = False
    ) -> list[CaptionedImage]:
        """The images of the caption files with their captions; see `read_captions`.

        Where a file name stands for several pictures, in several folders, the path by
        `image_pattern` is the id of every image.
        """
        images = [
            image
            for entry in self.caption_files
            for image in read_captions(
                root / entry.file,
                entry.format,
                split=entry.split,
                ids=root / entry.ids if entry.ids else None,
                captions_per_image=entry.captions_per_image,
                keep_undecodable=keep_undecodable,
            )
        ]
        paths = [self._path(image) for image in images]
        if len(set(paths)) <= len({image.image_id for image in images}):
            return images
        return [
            replace(image, image_id=path, file=image.image_id)
            for image, path in zip(images, paths, strict=True)
        ]

    def image_item(self, root: Path, image: CaptionedImage) -> ImageItem:
        """The item of an image, with the path of its picture below `root`."""
        if self.image_pattern is None:
            raise SettingsError(
                f"the data set {self.name} has captions but no pictures: its manifest names no "
                "image_pattern. Add one, or import its region features instead."
            )
        path = existing_path(root / self._path(image))
        return ImageItem(image.image_id, path, image.split)

    def _path(self, image: CaptionedImage) -> str:
        """Path of an image relative to the root, or what it would be if there were pictures."""
        pattern = self.image_pattern or ("{folder}/{file}" if image.folder else "{file}")
        return pattern.format(
            file=image.file or image.image_id, folder=image.folder, split=image.split
        )


def load_manifest(path: Path) -> Manifest:
    """Read and check the manifest of a data set.

    Raises:
        SettingsError: the file is missing, not YAML or not a manifest; the message says why.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise SettingsError(
            f"expected a manifest of a data set at {path}, but there is no such file."
        ) from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise SettingsError(
            f"{path} should be a manifest of a data set in YAML: {reason}"
        ) from error
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        faults = [
            f"{'.'.join(map(str, fault['loc'])) or 'file'}: {fault['msg']}"
            for fault in error.errors()
        ]
        more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
        raise SettingsError(
            f"{path} is not a manifest of a data set: {'; '.join(faults[:3])}{more}"
        ) from error


def file_captions(file: Path) -> list[CaptionItem]:
    """The captions of a file whose format is recognised, in the split that it names or `all`.

    Raises:
        DataError: the file is missing, empty, not UTF-8, or of no known format.
    """
    captions = caption_items(read_captions(file))
    if not captions:
        raise DataError(f"{file} has no captions: expected lines `file#k<TAB>caption`.")
    return captions


def caption_items(images: Iterable[CaptionedImage]) -> list[CaptionItem]:
    """The captions of the images, each with its id `image#k`."""
    return [
        CaptionItem(f"{image.image_id}#{k}", image.image_id, text, image.split)
        for image in images
        for k, text in zip(image.numbers, image.captions, strict=True)
    ]
