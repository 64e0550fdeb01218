"""The arguments and results of the readers of all formats."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.shards.records import Failure, ImageRegions


@dataclass(frozen=True)
class ReadOptions:
    """The user's options for an input.

    Attributes:
        split: the split that the images belong to; None leaves it to the format.
        ids: a file of image ids, see `new_ids`.
        trust_pickle: whether pickled arrays may be loaded, which can run any code.
        skip_faulty: whether a faulty image becomes a `Failure`, or ends the import.
    """

    split: str | None = None
    ids: Path | None = None
    trust_pickle: bool = False
    skip_faulty: bool = True


def input_files(folder: Path, pattern: str, *, is_deep: bool = False) -> list[Path]:
    """The files of a folder, sorted, without hidden ones: macOS leaves `._x.npz` beside `x.npz`.

    Args:
        folder: where they are.
        pattern: of their names.
        is_deep: also look into subfolders.
    """
    found = folder.rglob(pattern) if is_deep else folder.glob(pattern)
    return sorted(
        path
        for path in found
        if path.is_file()
        and not any(
            part.startswith(".") or part == "__MACOSX" for part in path.relative_to(folder).parts
        )
    )


@dataclass(frozen=True)
class Source:
    """The images of one split of an input, read lazily.

    Attributes:
        files: what is read.
        split: the split's name, None where neither the user nor the format names it.
        records: the images, in the input's order, and those that were skipped; can be gone through
            once.
        notices: what a user of the shards should know, a sentence each.
    """

    files: Sequence[Path]
    split: str | None
    records: Iterable[ImageRegions | Failure]
    notices: tuple[str, ...] = ()
