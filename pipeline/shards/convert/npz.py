"""A folder of one .npz or .npy file per image, named by its id.

What the files hold, according to the code that writes and reads them:

- MILVLG/bottom-up-attention.pytorch, utils/extract_utils.py (caffe mode): `x` [R, 2048], `bbox`
  [R, 4], `num_bbox`, `image_h`, `image_w`, and `info`, a pickled dict of `objects_id`,
  `objects_conf` and, with attributes, `attrs_id`, `attrs_conf`; ids count from 0, no background.
- The same, utils/extract_d2features.py (d2 mode): `info` holds `objects` [R] and `cls_prob` [R, C]
  without background; `attrs_id` is then the matrix [R, A] of attribute probabilities.
- Its first version: `x` and `bbox` alone; its mode `bboxes`: no `x`, refused here.
- OpenVQA (openvqa/datasets/vqa/vqa_loader.py): `x` is [2048, R] and there is no `info`; extractors
  made for it add `cls_prob` [R, C + 1] and `attr_prob` [R, A + 1], background first.
- ruotianluo/self-critical.pytorch, scripts/make_bu_data.py: three folders, `NAME_att/ID.npz` with
  `feat` [R, 2048], `NAME_box/ID.npy` with the boxes [R, 4], and `NAME_fc/ID.npy`, their mean.
- MMF: `ID.npy` [R, 2048] and `ID_info.npy`, a pickled dict with the boxes, sizes and classes.
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
from pipeline.shards.convert.image_arrays import NO_BOXES, image_record, name_of
from pipeline.shards.convert.npy import array_dtype, refuse_pickle
from pipeline.shards.convert.output import new_folder, refuse_existing
from pipeline.shards.convert.row_checks import RowChecks
from pipeline.shards.convert.source import ReadOptions, Source, input_files
from pipeline.shards.records import Failure, ImageRegions

NEEDS = ("boxes", "image_size")

KEEPS = (*NEEDS, "labels", "scores", "attributes", "attribute_scores")


def read(source: Path, options: ReadOptions) -> list[Source]:
    """The images of one file, or of all in a folder and its subfolders, as one split.

    Features in `NAME_att` have their boxes in `NAME_box` beside it, if that is there.
    """
    folder = _features_folder(source)
    files = _image_files(folder)
    boxes = _boxes_folder(folder)
    is_bare = boxes is None and all(path.suffix == ".npy" for path in files)
    notices = (NO_BOXES,) if is_bare and not any(map(_has_info, files)) else ()
    records = _records(files, boxes, options)
    return [Source(files=files, split=options.split, records=records, notices=notices)]


def _features_folder(source: Path) -> Path:
    """The folder `NAME_att` in a folder that holds `NAME_fc` and `NAME_box` too, else the source.

    Raises:
        DataError: there are several.
    """
    if not source.exists():
        raise DataError(f"{source} does not exist: expected an .npz file, or a folder of them.")
    found = [path for path in sorted(source.glob("*_att")) if path.is_dir()]
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise DataError(f"{source} has several folders of features ({names}): give one of them.")
    return found[0] if found else source


def _boxes_folder(folder: Path) -> Path | None:
    boxes = folder.with_name(folder.name.removesuffix("_att") + "_box")
    return boxes if folder.name.endswith("_att") and boxes.is_dir() else None


def _image_files(source: Path) -> list[Path]:
    if not source.is_dir():
        return [source]
    files = [
        path
        for pattern in ("*.npz", "*.npy")
        for path in input_files(source, pattern, is_deep=True)
        if not path.stem.endswith("_info")
    ]
    if not files:
        raise DataError(f"no *.npz or *.npy in {source}: expected one an image.")
    return sorted(files)


def _info_file(path: Path) -> Path:
    return path.with_name(f"{path.stem}_info.npy")


def _has_info(path: Path) -> bool:
    return _info_file(path).is_file()


def _records(
    files: list[Path], boxes: Path | None, options: ReadOptions
) -> Iterator[ImageRegions | Failure]:
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
        read = partial(_read, path, boxes, options.trust_pickle)
        yield check.outcome(read, path.stem, str(path))


def _read(path: Path, boxes: Path | None, trust_pickle: bool) -> ImageRegions:
    if path.suffix == ".npy":
        arrays = {"x": _load_array(path, trust_pickle)}
        if _has_info(path):
            info = _load_array(_info_file(path), trust_pickle)
            arrays = {**_dict_of(path, info), **arrays, "info": info}
    else:
        arrays = _load(path, trust_pickle)
    if boxes is not None:
        arrays["bbox"] = _load_array(boxes / f"{path.stem}.npy", trust_pickle)
    return image_record(str(path), path.stem, arrays)


def _dict_of(path: Path, info: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """The boxes and sizes in the dict of an `_info.npy`."""
    content = info.reshape(-1)[0] if info.size == 1 else None
    if not isinstance(content, Mapping):
        raise DataError(f"{_info_file(path)}: expected a dict, found {type(content).__name__}.")
    parts = ("boxes", "num_regions", "height", "width")
    names = [name for part in parts if (name := name_of(part, content)) is not None]
    return {name: np.asarray(content[name]) for name in names}


def _load_array(path: Path, trust_pickle: bool) -> NDArray[Any]:
    """The array of an .npy file."""
    try:
        with path.open("rb") as stream:
            is_pickle = array_dtype(stream).hasobject
        if is_pickle:
            refuse_pickle(path, "the array", trust_pickle)
        return np.load(path, allow_pickle=is_pickle)
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing: expected the boxes of the image.") from error
    except (ValueError, EOFError) as error:
        raise DataError(f"{path}: expected a complete .npy array ({error}).") from error
    except (pickle.UnpicklingError, ImportError, AttributeError, RuntimeError) as error:
        raise DataError(f"{path}: the pickled array cannot be loaded here ({error}).") from error


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
