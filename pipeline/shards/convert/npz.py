"""The .npz files of bottom-up-attention.pytorch and OpenVQA: one file per image, named by its id.

Their contents, according to the code that writes and reads them:

- MILVLG/bottom-up-attention.pytorch, utils/extract_utils.py (caffe mode): `x` [R, 2048], `bbox`
  [R, 4], `num_bbox`, `image_h`, `image_w`, and `info`, a pickled dict of `objects_id`,
  `objects_conf` and, with attributes, `attrs_id`, `attrs_conf`; ids count from 0, no background.
- The same, utils/extract_d2features.py (d2 mode): `info` holds `objects` [R] and `cls_prob` [R, C]
  without background; `attrs_id` is then the matrix [R, A] of attribute probabilities.
- Its first version: `x` and `bbox` alone; its mode `bboxes`: no `x`, refused here.
- OpenVQA (openvqa/datasets/vqa/vqa_loader.py): `x` is [2048, R] and there is no `info`; extractors
  made for it add `cls_prob` [R, C + 1] and `attr_prob` [R, A + 1], background first.

The number of boxes decides whether `x` is transposed; without boxes it is [R, 2048].
"""

import pickle
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.shards.convert.npy import array_dtype, refuse_pickle
from pipeline.shards.convert.output import new_folder, refuse_existing
from pipeline.shards.convert.row_checks import RowChecks
from pipeline.shards.convert.source import ReadOptions, Source, input_files
from pipeline.shards.records import Failure, ImageRegions

NEEDS = ("boxes", "image_size")

KEEPS = (*NEEDS, "labels", "scores", "attributes", "attribute_scores")

Arrays = Mapping[str, NDArray[Any]]


def read(source: Path, options: ReadOptions) -> list[Source]:
    """The images of one .npz file, or of all in a folder and its subfolders, as one split."""
    files = _npz_files(source)
    records = _records(files, options)
    return [Source(files=files, split=options.split, records=records)]


def _npz_files(source: Path) -> list[Path]:
    if not source.exists():
        raise DataError(f"{source} does not exist: expected an .npz file, or a folder of them.")
    if not source.is_dir():
        return [source]
    files = input_files(source, "*.npz", is_deep=True)
    if not files:
        raise DataError(f"no *.npz in {source}: expected one an image.")
    return files


def _records(files: list[Path], options: ReadOptions) -> Iterator[ImageRegions | Failure]:
    check = RowChecks(
        skip_faulty=options.skip_faulty,
        image_id="file name",
        features="x",
        boxes="bbox",
        image_size="image_h, image_w",
        labels="info.objects_id",
        scores="info.objects_conf",
        attributes="info.attrs_id",
        attribute_scores="info.attrs_conf",
    )
    for path in files:
        read = partial(_read, path, options.trust_pickle)
        yield check.outcome(read, _image_id(path), str(path))


def _read(path: Path, trust_pickle: bool) -> ImageRegions:
    return _record(path, _load(path, trust_pickle))


def _image_id(path: Path) -> str:
    return path.name.removesuffix(".npz")


def _load(path: Path, trust_pickle: bool) -> dict[str, NDArray[Any]]:
    """All arrays of a file; pickled ones only if trusted."""
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("it is not a zip file, or it is truncated")
        with cast(NpzFile, np.load(path, allow_pickle=trust_pickle)) as archive:
            for name in archive.files:
                with cast(zipfile.ZipFile, archive.zip).open(f"{name}.npy") as stream:
                    if array_dtype(stream).hasobject:
                        refuse_pickle(path, f"the array {name!r}", trust_pickle)
            return {name: archive[name] for name in archive.files}
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, KeyError) as error:
        raise DataError(
            f"{path}: expected an .npz archive of arrays ({error}). Create or download it again."
        ) from error
    except (pickle.UnpicklingError, ImportError, AttributeError, RuntimeError) as error:
        raise DataError(f"{path}: a pickled array cannot be loaded here ({error}).") from error


def _record(path: Path, arrays: Arrays) -> ImageRegions:
    if "x" not in arrays:
        found = ", ".join(arrays) or "nothing"
        raise DataError(
            f"{path}, field x: no features; the file holds {found}.\n"
            "Was it made with --extract-mode bboxes? Use roi_feats or bbox_feats."
        )
    boxes = arrays.get("bbox")
    features = _features(path, arrays["x"], _num_regions(path, arrays))
    return ImageRegions(
        image_id=_image_id(path),
        features=features,
        boxes=None if boxes is None else boxes.astype(np.float32),
        image_size=_image_size(path, arrays),
        **_named_classes(path, arrays),
    )


def _num_regions(path: Path, arrays: Arrays) -> int | None:
    """The number of boxes, if the file has it."""
    boxes = arrays.get("bbox")
    if boxes is not None and (boxes.ndim != 2 or boxes.shape[1] != 4):
        raise DataError(f"{path}, field bbox: expected [R, 4], found {list(boxes.shape)}.")
    counted = None if boxes is None else len(boxes)
    said = _number(path, arrays, "num_bbox")
    if said is not None and counted is not None and said != counted:
        raise DataError(
            f"{path}, field num_bbox: it says {said} regions, bbox holds {counted}.\n"
            "Fix or remove the file."
        )
    return said if counted is None else counted


def _number(path: Path, arrays: Arrays, name: str) -> int | None:
    if name not in arrays:
        return None
    array = arrays[name]
    if array.size != 1 or array.dtype.kind not in "iu":
        raise DataError(
            f"{path}, field {name}: expected an integer, found {array.dtype} {list(array.shape)}."
        )
    return int(array.reshape(()))


def _features(path: Path, x: NDArray[Any], num_regions: int | None) -> NDArray[Any]:
    """Features `[R, D]`, transposed if the file has `[D, R]`."""
    if x.ndim == 2 and x.dtype.kind == "f":
        if num_regions is None or x.shape[0] == num_regions:
            return x.astype(np.float32)
        if x.shape[1] == num_regions:
            return np.ascontiguousarray(x.T, dtype=np.float32)
    raise DataError(
        f"{path}, field x: expected floats [R, D] or [D, R] with R = {num_regions} regions, "
        f"found {x.dtype} {list(x.shape)}.\nFix or remove the file."
    )


def _image_size(path: Path, arrays: Arrays) -> tuple[int, int] | None:
    for names in (("image_h", "image_w"), ("height", "width")):
        height, width = (_number(path, arrays, name) for name in names)
        if height is not None and width is not None:
            return height, width
    return None


def _named_classes(path: Path, arrays: Arrays) -> dict[str, Any]:
    """Labels and attributes with their probabilities, if the file has them."""
    try:
        return _classes(path, arrays)
    except (IndexError, TypeError, ValueError) as error:
        field = "info" if "info" in arrays else "cls_prob, attr_prob"
        raise DataError(
            f"{path}, field {field}: classes and probabilities do not fit together ({error}).\n"
            "Fix or remove the file."
        ) from error


def _classes(path: Path, arrays: Arrays) -> dict[str, Any]:
    if "info" not in arrays:
        info: Mapping[str, Any] = {}
        objects = _best(arrays["cls_prob"][:, 1:]) if "cls_prob" in arrays else (None, None)
        attributes = _best(arrays["attr_prob"][:, 1:]) if "attr_prob" in arrays else (None, None)
    else:
        info = arrays["info"].reshape(-1)[0]
        if not isinstance(info, Mapping):
            raise DataError(f"{path}, field info: expected a dict, found {type(info).__name__}.")
        objects = _array(info, "objects_id"), _array(info, "objects_conf")
        attributes = _array(info, "attrs_id"), _array(info, "attrs_conf")
        if objects[0] is None and "objects" in info and "cls_prob" in info:  # d2 mode
            labels = np.asarray(info["objects"])
            objects = labels, np.asarray(info["cls_prob"])[np.arange(len(labels)), labels]
        if attributes[0] is not None and attributes[0].ndim == 2:  # d2 mode: all probabilities
            attributes = _best(attributes[0])
    return {
        "labels": objects[0],
        "scores": objects[1],
        "attributes": attributes[0],
        "attribute_scores": attributes[1],
    }


def _array(info: Mapping[str, Any], name: str) -> NDArray[Any] | None:
    return np.asarray(info[name]) if name in info else None


def _best(probabilities: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The most probable class of each region `[R]`, and its probability."""
    return probabilities.argmax(axis=1), probabilities.max(axis=1)


def write(records: Iterable[ImageRegions], out: Path, num_images: int) -> list[Path]:
    """Write a folder of files as MILVLG's caffe mode does; `info` only if there are labels.

    Raises:
        DataError: `out` exists, or an image's id cannot be the name of a file.
    """
    refuse_existing(out)
    with new_folder(out) as folder:
        for record in records:
            name = f"{record.image_id}.npz"
            if "/" in name or "\0" in name or name.startswith(".") or len(name.encode()) > 255:
                raise DataError(
                    f"the image id {record.image_id!r} cannot be the name of a file.\n"
                    "Export to butd-tsv or lxmert-tsv instead."
                )
            assert record.image_size is not None
            assert record.boxes is not None
            height, width = record.image_size
            arrays: dict[str, Any] = {
                "x": record.features.astype(np.float32),
                "bbox": record.boxes.astype(np.float32),
                "num_bbox": len(record.boxes),
                "image_h": height,
                "image_w": width,
            }
            if record.labels is not None:
                arrays["info"] = _info(record)
            np.savez_compressed(folder / name, **arrays)
    return [out]


def _info(record: ImageRegions) -> NDArray[Any]:
    """The dict of an image as a pickled array, which numpy makes of it."""
    assert record.image_size is not None
    info: dict[str, Any] = {
        "image_id": record.image_id,
        "image_h": record.image_size[0],
        "image_w": record.image_size[1],
        "num_boxes": len(record.features),
    }
    for key, array, dtype in (
        ("objects_id", record.labels, np.int64),
        ("objects_conf", record.scores, np.float32),
        ("attrs_id", record.attributes, np.int64),
        ("attrs_conf", record.attribute_scores, np.float32),
    ):
        if array is not None:
            info[key] = array.astype(dtype)
    return np.array(info, dtype=object)
