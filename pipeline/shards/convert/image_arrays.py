"""One image as published files store it: named arrays, whose names differ from project to project.

`info` is a dict with more of them: objects_id, objects_conf, attrs_id, attrs_conf, or the
probabilities of all classes. The number of boxes decides whether features are transposed.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.shards.records import ImageRegions

Arrays = Mapping[str, NDArray[Any]]

NAMES = {
    "features": ("x", "features", "feat", "feats", "att", "image_features"),
    "boxes": ("bbox", "boxes", "bboxes", "box", "image_bb"),
    "num_regions": ("num_bbox", "num_boxes"),
    "height": ("image_h", "height", "image_height", "img_h"),
    "width": ("image_w", "width", "image_width", "img_w"),
    "labels": ("objects_id", "labels", "classes", "object_ids"),
    "scores": ("objects_conf", "scores", "object_conf", "conf"),
    "attributes": ("attrs_id", "attributes", "attr_ids"),
    "attribute_scores": ("attrs_conf", "attribute_scores", "attr_conf"),
}
"""What files call each part of an image; the first name that occurs counts."""

NO_BOXES = (
    "The files hold no boxes: feature-neighbour edges only, no box term, regions in their order."
)
"""Notice for imports of features alone."""


def name_of(part: str, arrays: Mapping[str, Any]) -> str | None:
    """What the arrays call a part of `NAMES`; None if they lack it."""
    return next((name for name in NAMES[part] if name in arrays), None)


def image_record(where: str, image_id: str, arrays: Arrays) -> ImageRegions:
    """The image of its arrays.

    Args:
        where: the file, as the user should read it.
        image_id: of the image.
        arrays: by name; shapes as in the file.

    Raises:
        DataError: there are no features, or the arrays do not fit together.
    """
    features = name_of("features", arrays)
    if features is None:
        found = ", ".join(arrays) or "nothing"
        raise DataError(
            f"{where}, field {NAMES['features'][0]}: no features; the file holds {found}.\n"
            "Was it made with --extract-mode bboxes? Use roi_feats or bbox_feats."
        )
    boxes, count = _boxes(where, arrays)
    return ImageRegions(
        image_id=image_id,
        features=_features(where, features, arrays[features], count),
        boxes=boxes,
        image_size=_image_size(where, arrays),
        **_named_classes(where, arrays),
    )


def _boxes(where: str, arrays: Arrays) -> tuple[NDArray[Any] | None, int | None]:
    """The boxes `[R, 4]`, and the number of regions, if the file has them."""
    name = name_of("boxes", arrays)
    said = _number(where, arrays, "num_regions")
    if name is None:
        return None, said
    boxes = arrays[name]
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise DataError(f"{where}, field {name}: expected [R, 4], found {list(boxes.shape)}.")
    if said is not None and said != len(boxes):
        raise DataError(
            f"{where}, field {name_of('num_regions', arrays)}: it says {said} regions, {name} "
            f"holds {len(boxes)}.\nFix or remove the file."
        )
    return boxes.astype(np.float32), len(boxes)


def _number(where: str, arrays: Arrays, part: str) -> int | None:
    name = name_of(part, arrays)
    if name is None:
        return None
    array = np.asarray(arrays[name])
    if array.size != 1 or array.dtype.kind not in "iu":
        raise DataError(
            f"{where}, field {name}: expected an integer, found {array.dtype} {list(array.shape)}."
        )
    return int(array.reshape(()))


def _features(where: str, name: str, x: NDArray[Any], num_regions: int | None) -> NDArray[Any]:
    """Features `[R, D]`, transposed if the file has `[D, R]`."""
    if x.ndim == 2 and x.dtype.kind == "f":
        if num_regions is None or x.shape[0] == num_regions:
            return x.astype(np.float32)
        if x.shape[1] == num_regions:
            return np.ascontiguousarray(x.T, dtype=np.float32)
    regions = "" if num_regions is None else f" with R = {num_regions} regions"
    raise DataError(
        f"{where}, field {name}: expected floats [R, D] or [D, R]{regions}, "
        f"found {x.dtype} {list(x.shape)}.\nFix or remove the file."
    )


def _image_size(where: str, arrays: Arrays) -> tuple[int, int] | None:
    height, width = (_number(where, arrays, part) for part in ("height", "width"))
    return None if height is None or width is None else (height, width)


def _named_classes(where: str, arrays: Arrays) -> dict[str, Any]:
    """Labels and attributes with their probabilities, if the file has them."""
    try:
        return _classes(where, arrays)
    except (IndexError, TypeError, ValueError) as error:
        field = "info" if "info" in arrays else "cls_prob, attr_prob"
        raise DataError(
            f"{where}, field {field}: classes and probabilities do not fit together ({error}).\n"
            "Fix or remove the file."
        ) from error


def _classes(where: str, arrays: Arrays) -> dict[str, Any]:
    source: Mapping[str, Any] = arrays
    if "info" in arrays:
        source = arrays["info"].reshape(-1)[0]
        if not isinstance(source, Mapping):
            raise DataError(f"{where}, field info: expected a dict, found {type(source).__name__}.")
    found = {part: _array(source, part) for part in ("labels", "scores", "attributes")} | {
        "attribute_scores": _array(source, "attribute_scores")
    }
    if "info" not in arrays:  # probabilities whose first column is the background
        if found["labels"] is None and "cls_prob" in arrays:
            found["labels"], found["scores"] = _best(arrays["cls_prob"][:, 1:])
        if found["attributes"] is None and "attr_prob" in arrays:
            found["attributes"], found["attribute_scores"] = _best(arrays["attr_prob"][:, 1:])
        return found
    if found["labels"] is None and "objects" in source and "cls_prob" in source:  # d2 mode
        labels = np.asarray(source["objects"])
        found["labels"] = labels
        found["scores"] = np.asarray(source["cls_prob"])[np.arange(len(labels)), labels]
    if found["attributes"] is not None and found["attributes"].ndim == 2:  # all probabilities
        found["attributes"], found["attribute_scores"] = _best(found["attributes"])
    return found


def _array(source: Mapping[str, Any], part: str) -> NDArray[Any] | None:
    name = name_of(part, source)
    return None if name is None else np.asarray(source[name])


def _best(probabilities: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The most probable class of each region `[R]`, and its probability."""
    return probabilities.argmax(axis=1), probabilities.max(axis=1)
