"""COCO-format boxes with optional attributes, for training and evaluating a detector."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.detectors.orientation import pictures_to_turn, read_header
from pipeline.errors import DataError
from pipeline.manifests.manifest import ImageItem


@dataclass(frozen=True)
class Instances:
    """Annotated boxes of pictures.

    Attributes:
        classes: names, in the order of the detector's scores.
        attributes: names; empty where the file has none.
        groups: the group of each attribute; attributes of a group exclude each other, and '' means
            no group.
        records: one per picture, in detectron2's form; `attributes` of an annotation are indices.
    """

    classes: tuple[str, ...]
    attributes: tuple[str, ...]
    groups: tuple[str, ...]
    records: tuple[dict[str, Any], ...]


def read_instances(path: Path, items: Sequence[ImageItem]) -> Instances:
    """Read the boxes of the given pictures from a file in COCO's format.

    `attributes` beside `categories` lists the attributes as names or as `{"name", "group"}`; each
    annotation then has a list of names. Pictures are matched by file name.

    Raises:
        DataError: no such file, not COCO's format, or it lacks one of the pictures.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        return _instances(path, content, items)
    except FileNotFoundError as error:
        raise DataError(
            f"expected boxes in COCO's format in {path}, which does not exist; "
            "name the file with --instances."
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is not in COCO's format ({type(error).__name__}: {error}); expected an object "
            "with images, categories and annotations."
        ) from error


def _instances(path: Path, content: dict[str, Any], items: Sequence[ImageItem]) -> Instances:
    categories = sorted(content["categories"], key=lambda category: category["id"])
    class_of = {category["id"]: k for k, category in enumerate(categories)}
    listed = [a if isinstance(a, dict) else {"name": a} for a in content.get("attributes", [])]
    attribute_of = {attribute["name"]: k for k, attribute in enumerate(listed)}
    images = {image["file_name"]: image for image in content["images"]}
    boxes: dict[Any, list[dict[str, Any]]] = {}
    for annotation in content["annotations"]:
        boxes.setdefault(annotation["image_id"], []).append(annotation)
    entries = {item.path: _entry(images, item, path) for item in items}
    headers = {item.path: read_header(item.path) for item in items}
    shapes = {file: (image["width"], image["height"]) for file, image in entries.items()}
    to_turn = pictures_to_turn(headers, shapes, path)
    records = []
    for file, image in entries.items():
        header = headers[file]
        width, height = header.turned_size
        records.append(
            {
                "file_name": str(file),
                "image_id": image["id"],
                "height": height,
                "width": width,
                "annotations": [
                    {
                        "bbox": header.turned_box(annotation["bbox"])
                        if file in to_turn
                        else list(annotation["bbox"]),
                        "bbox_mode": 1,  # BoxMode.XYWH_ABS
                        "category_id": class_of[annotation["category_id"]],
                        "iscrowd": annotation.get("iscrowd", 0),
                        "attributes": [attribute_of[a] for a in annotation.get("attributes", [])],
                    }
                    for annotation in boxes.get(image["id"], [])
                ],
            }
        )
    return Instances(
        classes=tuple(category["name"] for category in categories),
        attributes=tuple(attribute_of),
        groups=tuple(attribute.get("group", "") for attribute in listed),
        records=tuple(records),
    )


def _entry(images: Mapping[str, dict[str, Any]], item: ImageItem, path: Path) -> dict[str, Any]:
    """The entry of a picture in `images`."""
    if item.path.name not in images:
        raise DataError(
            f"{path} lists no picture {item.path.name}; expected one entry in images for each "
            "picture of the manifest."
        )
    return images[item.path.name]
