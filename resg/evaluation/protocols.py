"""Retrieval metrics of a score matrix, by the field's protocols.

I images, C captions. Needs NumPy alone, so that a matrix is evaluated without starting PyTorch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from resg.errors import ResgError, SettingsError
from resg.evaluation.ranking import Metrics, check_scores, score_matrix_metrics

Protocol = Literal["full", "1k", "5x1k"]
CAPTIONS_PER_IMAGE = 5


@dataclass(frozen=True)
class Evaluation:
    """Metrics of a protocol, for each of its folds; a protocol without folds has one.

    Attributes:
        protocol: `full`, `1k` or `5x1k`.
        folds: metrics of each fold of images.
    """

    protocol: Protocol
    folds: tuple[Metrics, ...]

    def as_json(self) -> dict[str, Any]:
        """One object with `i2t`, `t2i` and `rsum`: the means over folds."""
        return {"protocol": self.protocol, **mean_of([fold.as_json() for fold in self.folds])}


def mean_of(figures: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean of each figure of equally shaped nested objects."""
    return _combine(figures, lambda values: float(np.mean(values)))


def deviation_of(figures: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Sample standard deviation of each figure; 0 of one object."""
    return _combine(
        figures, lambda values: float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    )


def _combine(figures: Sequence[dict[str, Any]], combine: Any) -> dict[str, Any]:
    first = figures[0]
    return {
        name: _combine([f[name] for f in figures], combine)
        if isinstance(value, dict)
        else combine([f[name] for f in figures])
        for name, value in first.items()
        if not isinstance(value, str)
    }


def evaluate_scores(
    scores_IC: NDArray[np.floating[Any]],
    image_of_caption_C: NDArray[np.integer[Any]],
    protocol: Protocol = "full",
) -> Evaluation:
    """Metrics of a score matrix by a protocol.

    `full` ranks among all; `1k` among the first 1,000 images and their captions; `5x1k` takes the
    mean over the five folds of 1,000 images (Karpathy and Fei-Fei 2015).

    Raises:
        SettingsError: there are fewer images than the protocol needs.
        ScoreError: shapes do not fit, a score is not finite, or an image has no caption.
    """
    check_scores(scores_IC, image_of_caption_C)  # all of them, whatever the folds leave out
    num_images = scores_IC.shape[0]
    needed = {"full": 0, "1k": 1000, "5x1k": 5000}[protocol]
    if num_images < needed:
        raise SettingsError(
            f"protocol {protocol} needs {needed} images, there are {num_images}. "
            "Use --protocol full."
        )
    if protocol == "full":
        return Evaluation(protocol, (score_matrix_metrics(scores_IC, image_of_caption_C),))
    folds = []
    for start in range(0, needed, 1000):
        is_fold_C = (image_of_caption_C >= start) & (image_of_caption_C < start + 1000)
        fold_scores = scores_IC[start : start + 1000][:, is_fold_C]
        folds.append(score_matrix_metrics(fold_scores, image_of_caption_C[is_fold_C] - start))
    return Evaluation(protocol, tuple(folds))


def load_matrix(
    path: Path, owners: Path | None = None
) -> tuple[NDArray[np.floating[Any]], NDArray[np.int64]]:
    """Load a score matrix of images x captions, and the row of each caption's image.

    Args:
        path: an .npy file.
        owners: which image each caption describes, see `load_owners`; default: five captions for
            each image, in order.

    Raises:
        ResgError: the file is not a matrix of that form.
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
        return scores_IC, load_owners(owners, *scores_IC.shape)
    num_images = len(scores_IC) if scores_IC.ndim else 0
    if scores_IC.dtype.kind not in "iuf" or scores_IC.shape != (
        num_images,
        CAPTIONS_PER_IMAGE * num_images,
    ):
        raise ResgError(
            f"expected images x captions with {CAPTIONS_PER_IMAGE} captions an image in {path}, "
            f"got shape {scores_IC.shape} of {scores_IC.dtype}. Is it transposed? Captions of "
            "another number are evaluated with --owners FILE."
        )
    return scores_IC, np.repeat(np.arange(num_images), CAPTIONS_PER_IMAGE)


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
        raise ResgError(
            f"expected a line for each of {num_captions} captions in {path}, got {len(lines)}. "
            "Is it of another matrix?"
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
