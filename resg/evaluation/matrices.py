"""Score matrices as NumPy files, with the ids of their images and captions beside them.

I images, C captions. `scores.npy` has its ids in `scores.ids.json`:

    {"split": "test", "image_ids": [...], "caption_ids": [...], "image_of_caption": [0, 0, 1, ...]}
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from resg.errors import ResgError, SettingsError

CAPTIONS_PER_IMAGE = 5


@dataclass(frozen=True)
class MatrixIds:
    """Which images and captions the rows and columns of a score matrix are.

    Attributes:
        split: that was scored.
        image_ids: `[I]`.
        caption_ids: `[C]`.
        image_of_caption: `[C]` row of each caption's image.
    """

    split: str
    image_ids: list[str]
    caption_ids: list[str]
    image_of_caption: list[int]


def prepare_matrix_path(path: Path) -> None:
    """Make the folder of a matrix, or refuse its path, before the scores are computed.

    Raises:
        SettingsError: the name does not end in .npy, or the folder cannot be made.
    """
    if path.suffix != ".npy":
        raise SettingsError(f"expected a name that ends in .npy for the matrix, got {path.name!r}.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"the folder {path.parent} for the matrix cannot be made: {error.strerror}."
        ) from error


def save_matrix(path: Path, scores_IC: NDArray[np.floating[Any]], ids: MatrixIds) -> None:
    """Write a score matrix and its ids; what was there is replaced.

    Args:
        path: ends in `.npy`.
        scores_IC: `[I, C]`.
        ids: of its rows and columns.
    """
    ids_path(path).unlink(missing_ok=True)  # never the ids of another matrix
    draft = path.with_suffix(".tmp")
    with draft.open("wb") as stream:
        np.save(stream, scores_IC, allow_pickle=False)
    draft.replace(path)
    ids_path(path).write_text(json.dumps(asdict(ids), ensure_ascii=False), encoding="utf-8")


def ids_path(path: Path) -> Path:
    """Where the ids of a matrix are: `scores.ids.json` beside `scores.npy`."""
    return path.with_suffix(".ids.json")


def load_matrix(
    path: Path, owners: Path | None = None
) -> tuple[NDArray[np.floating[Any]], NDArray[np.int64], str | None]:
    """Load a score matrix of images x captions.

    Args:
        path: an .npy file. Without owners and without ids beside it, it must have five captions for
            each image, in order.
        owners: which image each caption describes, see `load_owners`.

    Returns:
        `[I, C]` scores, `[C]` row of each caption's image, and the split where the ids tell it.

    Raises:
        ResgError: the file is not a matrix of that form, or the ids are not its own.
    """
    try:
        scores_IC = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ResgError(
            f"expected a numpy matrix in {path}, got: {error}. Write it with numpy.save."
        ) from error
    if not isinstance(scores_IC, np.ndarray):
        raise ResgError(
            f"expected one numpy matrix in {path}, got an archive of several. "
            "Write the scores alone with numpy.save."
        )
    if owners is not None and scores_IC.ndim == 2 and scores_IC.dtype.kind in "iuf":
        return scores_IC, load_owners(owners, *scores_IC.shape), None
    if ids_path(path).exists():
        ids = _read_ids(ids_path(path))
        _check_shape(path, scores_IC, (len(ids.image_ids), len(ids.caption_ids)))
        return scores_IC, np.array(ids.image_of_caption, np.int64), ids.split
    num_images = len(scores_IC) if scores_IC.ndim else 0
    _check_shape(path, scores_IC, (num_images, CAPTIONS_PER_IMAGE * num_images))
    return scores_IC, np.repeat(np.arange(num_images), CAPTIONS_PER_IMAGE), None


def load_owners(path: Path, num_images: int, num_captions: int) -> NDArray[np.int64]:
    """The row of each caption's image in a score matrix.

    Args:
        path: an .npy array of rows, or a text file with one line per caption: the row of its image,
            counted from 0, or the image's id. Ids stand for rows in the order in which they first
            appear; numbers are ids if one of them is no row.
        num_images: rows of the matrix.
        num_captions: its columns.

    Returns:
        `[C]` rows.

    Raises:
        ResgError: the file is no list of that form, or does not fit the matrix.
    """
    lines = _owner_lines(path)
    if len(lines) != num_captions:
        advice = "Is it of another matrix?"
        if len(lines) == num_images:
            advice = "The matrix seems to be transposed: its rows are images, its columns captions."
        raise ResgError(
            f"expected a line for each of {num_captions} captions in {path}, got {len(lines)}. "
            f"{advice}"
        )
    if all(line.isdecimal() and int(line) < num_images for line in lines):
        return np.array([int(line) for line in lines], np.int64)
    row_of = {id_: row for row, id_ in enumerate(dict.fromkeys(lines))}
    if len(row_of) != num_images:
        raise ResgError(
            f"expected ids of {num_images} images in {path}, one for each row of the matrix, got "
            f"{len(row_of)}. A row without a caption has no rank: leave it out of the matrix."
        )
    return np.array([row_of[line] for line in lines], np.int64)


def _owner_lines(path: Path) -> list[str]:
    if path.suffix != ".npy":
        try:
            return [line.strip() for line in path.read_text("utf-8-sig").splitlines()]
        except UnicodeDecodeError as error:
            raise ResgError(f"expected a UTF-8 text or an .npy file in {path}: {error}.") from error
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ResgError(f"expected a numpy array in {path}, got: {error}.") from error
    if array.ndim != 1 or array.dtype.kind not in "iuU":
        raise ResgError(
            f"expected a row or an id for each caption in {path}, "
            f"got shape {array.shape} of {array.dtype}."
        )
    return [str(value) for value in array.tolist()]


def mean_scores(matrices: Sequence[NDArray[np.floating[Any]]]) -> NDArray[np.floating[Any]]:
    """The ensemble of several runs: their mean score matrix.

    Raises:
        ResgError: the matrices have different shapes, so the runs scored different data.
    """
    shapes = {matrix.shape for matrix in matrices}
    if len(shapes) > 1:
        raise ResgError(f"expected runs that score the same data, got matrices {sorted(shapes)}.")
    return np.mean(matrices, axis=0)


def _read_ids(path: Path) -> MatrixIds:
    try:
        ids = TypeAdapter(MatrixIds).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise ResgError(
            f"expected the ids of a score matrix in {path}, got: {error}\n"
            "Write the matrix again with resg evaluate --save-matrix, or remove this file if the "
            f"matrix has {CAPTIONS_PER_IMAGE} captions an image in order."
        ) from error
    if len(ids.image_of_caption) != len(ids.caption_ids):
        raise ResgError(
            f"expected an image for each of {len(ids.caption_ids)} captions in {path}, got "
            f"{len(ids.image_of_caption)}. Write it again with resg evaluate --save-matrix."
        )
    return ids


def _check_shape(path: Path, scores_IC: NDArray[Any], shape: tuple[int, int]) -> None:
    if scores_IC.dtype.kind in "iuf" and scores_IC.shape == shape and scores_IC.size:
        return
    got = f"got shape {scores_IC.shape} of {scores_IC.dtype}. {_advice(scores_IC, shape)}"
    if ids_path(path).exists():
        raise ResgError(
            f"expected the {shape[0]} images x {shape[1]} captions of {ids_path(path).name} in "
            f"{path}, {got}"
        )
    raise ResgError(
        f"expected images x captions with {CAPTIONS_PER_IMAGE} captions an image in {path}, or "
        f"their ids beside it in {ids_path(path).name}, or --owners FILE, {got}"
    )


def _advice(scores: NDArray[Any], shape: tuple[int, int]) -> str:
    """What to do about a matrix that does not have the expected shape."""
    if scores.ndim != 2:
        axes = "1 axis" if scores.ndim == 1 else f"{scores.ndim} axes"
        return f"A matrix of scores has 2 axes, this array has {axes}."
    if not scores.size:
        return "It is empty."
    if scores.dtype.kind not in "iuf":
        return "Scores are numbers."
    rows, columns = scores.shape
    if scores.T.shape == shape or rows == CAPTIONS_PER_IMAGE * columns:
        return "It is transposed: save the array's .T."
    return "--owners names the image of each caption, whatever their number."
