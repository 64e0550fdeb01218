"""HDF5 files of region features, in the layouts that projects publish.

- One dataset for each image, `ID` [R, D]; or a group `ID` with datasets such as `features` and
  `bboxes` (converters of bottom-up attention's TSV).
- `ID_features`, `ID_boxes` and `ID_cls_prob`, background first (meshed-memory transformer,
  aimagelab/meshed-memory-transformer).
- Tables with a row per image: `features` [N, R, D], or N flat arrays of any length, with `image_id`
  and perhaps `boxes`, `num_boxes`, sizes and classes (VisDial and nocaps baselines). Rows with
  fewer boxes than R end in padding.
- `image_features` [N, R, D] with `image_bb` (hengyuan-hu/bottom-up-attention-vqa), or
  `image_features` [sum of R, D] with `pos_boxes` [N, 2], first row and end of each image
  (jnhwkim/ban-vqa). Their ids lie in a pickle beside them, so a file of ids must be given.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.shards.convert.image_arrays import NAMES, NO_BOXES, image_record, name_of
from pipeline.shards.convert.row_checks import RowChecks
from pipeline.shards.convert.source import ReadOptions, Source, input_files
from pipeline.shards.records import Failure, ImageRegions

IDS = ("image_id", "image_ids", "img_id", "img_ids", "ids")

FLAT = "_features"
"""Ending of the names of one layout; what stands before it is the id."""

Arrays = dict[str, NDArray[Any]]
Group = Any
"""An `h5py.Group`, whose stubs do not tell what its children are."""

Image = tuple[str, partial[Arrays]]
"""The id of an image, and what reads its arrays."""


def read(source: Path, options: ReadOptions) -> list[Source]:
    """The images of one file, or of all `*.h5` and `*.hdf5` in a folder, as one split.

    Raises:
        DataError: there is no such file, it is no HDF5 file, or its layout is none of those above.
    """
    files = _files(source)
    have_boxes = [_has_boxes(file, has_ids=options.ids is not None) for file in files]
    records = _records(files, options.skip_faulty)
    return [Source(files, options.split, records, () if any(have_boxes) else (NO_BOXES,))]


def _files(source: Path) -> list[Path]:
    if not source.exists():
        raise DataError(f"{source} does not exist: expected an HDF5 file, or a folder of them.")
    if not source.is_dir():
        return [source]
    files = [path for ending in ("*.h5", "*.hdf5") for path in input_files(source, ending)]
    if not files:
        raise DataError(f"no *.h5 or *.hdf5 in {source}: name the file itself.")
    return sorted(files)


def _open(path: Path) -> Group:
    try:
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"{path}: expected a complete HDF5 file ({reason}). Download it again."
        ) from error


def _has_boxes(path: Path, *, has_ids: bool) -> bool:
    """Whether the first image of a file has boxes.

    Raises:
        DataError: the file has no images, or no ids where none are given.
    """
    with _open(path) as file:
        image = next(_images(file, ""), None)
        if image is None:
            found = ", ".join(list(file)[:8]) or "nothing"
            raise DataError(
                f"{path}: expected features of images, by image or in a table; the file holds "
                f"{found}.\nThe layouts are described in docs/convert.md."
            )
        if _is_table(file) and _ids(file) is None and not has_ids:
            raise DataError(
                f"{path} has no ids of its images: give --ids FILE, one per line in the rows' "
                "order.\nSuch a file often comes with a pickle imgid2idx, which has them."
            )
        return name_of("boxes", image[1]()) is not None


def _records(files: list[Path], skip_faulty: bool) -> Iterator[ImageRegions | Failure]:
    check = RowChecks(skip_faulty=skip_faulty)
    for path in files:
        with _open(path) as file:
            for image_id, load in _images(file, ""):
                where = f"{path}, {image_id}"
                yield check.outcome(partial(_record, where, image_id, load), image_id, where)


def _record(where: str, image_id: str, load: partial[Arrays]) -> ImageRegions:
    try:
        arrays = load()
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{where}: its arrays cannot be read ({reason}).") from error
    return image_record(where, image_id, arrays)


def _images(group: Group, prefix: str) -> Iterator[Image]:
    """The images below a group; `/` in an id makes groups of its parts."""
    if not prefix and _is_table(group):
        yield from _rows(group)
        return
    for name in group:
        item, path = group[name], f"{prefix}{name}"
        if isinstance(item, h5py.Group):
            if _feature_name(item) is not None:
                yield path, partial(_whole, item)
            else:
                yield from _images(item, f"{path}/")
        elif name.endswith(FLAT) and item.ndim == 2:
            yield path.removesuffix(FLAT), partial(_flat, group, name.removesuffix(FLAT))
        elif item.ndim == 2 and item.dtype.kind == "f" and _stem(name) not in group:
            yield path, partial(_alone, item)


def _stem(name: str) -> str:
    """The features that `ID_boxes` or `ID_cls_prob` go with."""
    for ending in ("_boxes", "_cls_prob"):
        if name.endswith(ending):
            return name.removesuffix(ending) + FLAT
    return ""


def _feature_name(group: Group) -> str | None:
    name = name_of("features", group)
    return name if name is not None and isinstance(group[name], h5py.Dataset) else None


def _is_table(group: Group) -> bool:
    """Whether a file has one dataset of all images' features."""
    return _feature_name(group) is not None


def _whole(group: Group) -> Arrays:
    """The arrays of one image's group, and its attributes, such as its size."""
    arrays = {name: item[()] for name, item in group.items() if isinstance(item, h5py.Dataset)}
    return {name: np.asarray(value) for name, value in {**group.attrs, **arrays}.items()}


def _flat(group: Group, stem: str) -> Arrays:
    names = {"features": FLAT, "boxes": "_boxes", "cls_prob": "_cls_prob"}
    return {
        part: group[stem + ending][()] for part, ending in names.items() if stem + ending in group
    }


def _alone(features: Any) -> Arrays:
    return {"features": features[()]}


def _ids(file: Group) -> list[str] | None:
    name = next((name for name in IDS if name in file), None)
    if name is None:
        return None
    ids = file[name][()].reshape(-1).tolist()
    return [id_.decode("utf-8", "replace") if isinstance(id_, bytes) else str(id_) for id_ in ids]


def _rows(file: Group) -> Iterator[Image]:
    """The images of a table; without ids they are numbered, and a file of ids renames them."""
    features = _feature_name(file)
    assert features is not None
    ends = file["pos_boxes"][()] if "pos_boxes" in file else None
    count = len(file[features]) if ends is None else len(ends)
    ids = _ids(file) or [str(row) for row in range(count)]
    if len(ids) != count:
        raise DataError(f"{file.filename}: {len(ids):,} ids for {count:,} images.")
    columns = [
        name
        for part, names in NAMES.items()
        for name in names
        if name in file and (part != "features" or name == features)
    ] + [name for name in ("cls_prob", "attr_prob") if name in file]
    for row, image_id in enumerate(ids):
        if ends is None:
            yield image_id, partial(_row, file, columns, row)
        else:
            yield image_id, partial(_slice, file, columns, slice(*ends[row].tolist()))


def _slice(file: Group, columns: list[str], rows: slice) -> Arrays:
    """Rows of one image, in a table of all regions."""
    return {name: file[name][rows] for name in columns}


def _row(file: Group, columns: list[str], row: int) -> Arrays:
    """One image's row; padding behind its last box is cut, flat arrays get their shape."""
    arrays = {name: np.asarray(file[name][row]) for name in columns}
    number = name_of("num_regions", arrays)
    if number is None:
        return arrays
    count = int(arrays[number].reshape(()))
    for name, array in arrays.items():
        if array.ndim == 1 and array.size and name in (*NAMES["features"], *NAMES["boxes"]):
            arrays[name] = array.reshape(count, -1)
        elif array.ndim:
            arrays[name] = array[:count]
    return arrays
