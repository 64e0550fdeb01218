"""SCAN's arrays: `<split>_ims.npy`, features alone; `<split>_caps.txt`, captions in image order.

The array is float32 `[N, 36, 2048]` (kuanghuei/SCAN, data.py and util/convert_data.py): no boxes,
no classes, no ids. A caption stands on each line, five an image. Older files repeat each image five
times, a row a caption; that is noticed by comparing the rows, and each image is stored once.

The image of caption line k is therefore number k // 5, whatever the layout, and its id is
`<split>:<number>` unless the user names a file of ids. The caption format `scan-txt` of data
manifests has the same rule: captions and regions join by it.
"""

import pickle
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError, SettingsError
from pipeline.shards.convert.new_ids import read_ids
from pipeline.shards.convert.npy import array_dtype, refuse_pickle
from pipeline.shards.convert.output import new_file, refuse_existing
from pipeline.shards.convert.row_checks import RowChecks
from pipeline.shards.convert.source import ReadOptions, Source, input_files
from pipeline.shards.records import Failure, ImageRegions

NEEDS: tuple[str, ...] = ()

KEEPS: tuple[str, ...] = ()

CAPTIONS_PER_IMAGE = 5

ARRAY_SUFFIX = "_ims.npy"

NOTICE = (
    "SCAN arrays hold no boxes, image sizes, labels, scores or attributes: feature-neighbour edges "
    "only, no box term, regions in the file's order."
)


def read(source: Path, options: ReadOptions) -> list[Source]:
    """The images of an array, or of every `*_ims.npy` of a folder, one split per array.

    The split is what stands before `_ims.npy`, with `val` for `dev`, unless the options name one.
    """
    arrays = _array_files(source, options)
    return [_read_array(path, options) for path in arrays]


def _array_files(source: Path, options: ReadOptions) -> list[Path]:
    if not source.exists():
        raise DataError(f"{source} does not exist: expected an array, or a folder of *_ims.npy.")
    if not source.is_dir():
        return [source]
    found = input_files(source, "*" + ARRAY_SUFFIX)
    if not found:
        raise DataError(f"no *{ARRAY_SUFFIX} in {source}: name the array itself.")
    if len(found) > 1 and options.ids:
        raise SettingsError(
            "--ids names the images of one array: give the array itself as --input."
        )
    if len(found) > 1 and options.split:
        chosen = [path for path in found if _split_of(path) == options.split]
        if not chosen:
            names = ", ".join(path.name for path in found)
            raise SettingsError(f"no array of split {options.split} in {source}, only {names}.")
        return chosen
    return found


def _read_array(path: Path, options: ReadOptions) -> Source:
    split = options.split or _split_of(path)
    array = _open_array(path, options.trust_pickle)
    captions_file = sibling(path, "_caps.txt")
    num_captions = None
    if path.name.endswith(ARRAY_SUFFIX) and captions_file.is_file():
        with captions_file.open("rb") as stream:
            num_captions = sum(1 for _ in stream)
    named = None if options.ids is None else read_ids(options.ids)
    copies = _copies(array, num_captions, named)
    num_images = len(array) // copies
    ids = [f"{split}:{number}" for number in range(num_images)]
    if options.ids and named is not None:
        ids = _one_an_image(named, options.ids, num_images)
    notices = [NOTICE]
    if copies > 1:
        notices.append(
            f"{path.name} repeats each image {copies} times: {len(array):,} rows, "
            f"{num_images:,} images stored."
        )
    if num_captions is not None:
        _check_captions(captions_file, num_captions, num_images)
    records = _records(path, array, copies, ids, options.skip_faulty)
    return Source((path,), split, records, tuple(notices))


def _split_of(path: Path) -> str:
    """The part before `_ims.npy`; SCAN's `dev` is `val` everywhere else."""
    name = path.name.removesuffix(".npy").removesuffix("_ims")
    return "val" if name == "dev" else name


def _open_array(path: Path, trust_pickle: bool) -> NDArray[Any]:
    """The memory-mapped array `[N, R, D]`, or, from a pickle, N objects `[R, D]`."""
    try:
        with path.open("rb") as stream:
            is_pickle = array_dtype(stream).hasobject
        if is_pickle:
            refuse_pickle(path, "the array", trust_pickle)
        array = np.load(path, mmap_mode=None if is_pickle else "r", allow_pickle=is_pickle)
    except (ValueError, EOFError) as error:
        raise DataError(
            f"{path}: expected a complete, uncompressed .npy array ({error}). "
            "Decompress it, or download it again."
        ) from error
    except (pickle.UnpicklingError, ImportError, AttributeError) as error:
        raise DataError(f"{path}: the pickled array cannot be loaded here ({error}).") from error
    if array.ndim != (1 if is_pickle else 3) or array.dtype.kind not in "fO" or not len(array):
        raise DataError(
            f"{path}: expected floats [images, regions, width], such as [N, 36, 2048], "
            f"found {array.dtype} {list(array.shape)}."
        )
    return array


def _copies(array: NDArray[Any], num_captions: int | None, ids: Sequence[str] | None) -> int:
    """How often the array repeats each image: five times in a row, or once.

    Five captions a row, or an id of its own for each row, show that no row is a copy.
    """
    num_rows = len(array)
    if num_rows % CAPTIONS_PER_IMAGE or num_captions == num_rows * CAPTIONS_PER_IMAGE:
        return 1
    if ids is not None and len(set(ids)) == num_rows:
        return 1
    for start in range(0, num_rows, CAPTIONS_PER_IMAGE):
        first = np.asarray(array[start])
        for row in range(start + 1, start + CAPTIONS_PER_IMAGE):
            if not np.array_equal(array[row], first):  # ends here at once for distinct images
                return 1
    return CAPTIONS_PER_IMAGE


def _one_an_image(ids: list[str], file: Path, num_images: int) -> list[str]:
    """The ids, without the repetitions for every caption."""
    firsts = ids[::CAPTIONS_PER_IMAGE]
    if ids == [image_id for image_id in firsts for _ in range(CAPTIONS_PER_IMAGE)]:
        ids = firsts
    if len(ids) != num_images:
        raise DataError(
            f"{file}: expected {num_images:,} ids, one an image, or each repeated for its "
            f"{CAPTIONS_PER_IMAGE} captions; found {len(ids):,}.\n"
            "Give the file that belongs to this array."
        )
    id_, count = Counter(ids).most_common(1)[0]
    if count > 1:
        raise DataError(f"{file}: the id {id_!r} stands there {count} times, expected once.")
    return ids


def _check_captions(file: Path, num_captions: int, num_images: int) -> None:
    if num_captions % num_images or not num_captions:
        raise DataError(
            f"{file}: expected {CAPTIONS_PER_IMAGE} captions an image, one a line, "
            f"found {num_captions:,} for {num_images:,} images.\n"
            "Does it belong to another split, or is it truncated?"
        )


def _records(
    path: Path, array: NDArray[Any], copies: int, ids: Sequence[str], skip_faulty: bool
) -> Iterator[ImageRegions | Failure]:
    check = RowChecks(skip_faulty=skip_faulty, image_id="id", features="array")
    for number, image_id in enumerate(ids):
        row = number * copies
        where = f"{path}, row {row}"
        yield check.outcome(partial(_record, array[row], image_id, where), image_id, where)


def _record(row: NDArray[Any], image_id: str, where: str) -> ImageRegions:
    features = np.asarray(row)
    if features.ndim != 2 or features.dtype.kind != "f":
        raise DataError(
            f"{where}, field array: expected floats [regions, width], "
            f"found {features.dtype} {list(features.shape)}.\nMend or remove it."
        )
    # A copy: a view of the file's map would keep every page that was read in memory.
    return ImageRegions(image_id, features.astype(np.float32))


def write(records: Iterable[ImageRegions], out: Path, num_images: int) -> list[Path]:
    """Write features as a float32 array, and beside it the ids, one per line.

    Args:
        records: the images, all with as many regions.
        out: `<name>_ims.npy`; the ids go to `<name>_ids.txt`.
        num_images: how many there are.

    Raises:
        SettingsError: `out` is not called so.
        DataError: the images have different numbers of regions.
    """
    if not out.name.endswith(ARRAY_SUFFIX):
        raise SettingsError(
            f"SCAN reads <split>{ARRAY_SUFFIX}: expected --out to end so, found {out.name}."
        )
    ids_file = sibling(out, "_ids.txt")
    refuse_existing(ids_file)
    first_shape: tuple[int, ...] | None = None
    with new_file(ids_file) as ids, new_file(out) as stream:
        for record in records:
            features = np.ascontiguousarray(record.features, dtype="<f4")
            if first_shape is None:
                first_shape = features.shape
                header = {
                    "descr": "<f4",
                    "fortran_order": False,
                    "shape": (num_images, *first_shape),
                }
                np.lib.format.write_array_header_1_0(stream, header)
            if features.shape != first_shape:
                raise DataError(
                    f"a SCAN array needs as many regions in each image: {record.image_id} has "
                    f"{len(features)}, the first image {first_shape[0]}.\n"
                    "Export to butd-tsv, lxmert-tsv or npz, or extract a fixed number of regions."
                )
            stream.write(features.tobytes())
            ids.write(record.image_id.encode("utf-8") + b"\n")
    return [out, ids_file]


def sibling(array_file: Path, suffix: str) -> Path:
    """The file beside `<name>_ims.npy` that is called `<name>` and `suffix`."""
    return array_file.with_name(array_file.name.removesuffix(ARRAY_SUFFIX) + suffix)


def write_captions(captions: Iterable[tuple[str, Sequence[str]]], out: Path) -> list[str]:
    """Write five captions per image, one per line, in the order of the images.

    Args:
        captions: each image's id and its captions.
        out: `<name>_caps.txt`.

    Returns:
        Notices: which images had more than five, of which the first five are written.

    Raises:
        DataError: an image has fewer than five.
    """
    longer = 0
    with new_file(out) as stream:
        for image_id, texts in captions:
            if len(texts) < CAPTIONS_PER_IMAGE:
                raise DataError(
                    f"SCAN needs {CAPTIONS_PER_IMAGE} captions an image: "
                    f"{image_id} has {len(texts)}."
                )
            longer += len(texts) > CAPTIONS_PER_IMAGE
            for text in texts[:CAPTIONS_PER_IMAGE]:
                stream.write(" ".join(text.split()).encode("utf-8") + b"\n")
    if not longer:
        return []
    return [f"{longer:,} images have more than five captions: the first five are written."]
