"""Give images of an import the ids of a file: one id per line in their order, or `OLD<TAB>NEW`."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from pipeline.errors import DataError
from pipeline.shards.convert.source import Source
from pipeline.shards.records import Failure, ImageRegions
from pipeline.text_files import lines_of, read_text

Outcome = ImageRegions | Failure


def read_ids(file: Path) -> list[str]:
    """The lines of a file of ids, without empty ones at its end.

    Raises:
        DataError: the file is missing or not UTF-8.
    """
    ids = [line.strip() for line in lines_of(read_text(file, "file of ids"))]
    while ids and not ids[-1]:
        ids.pop()
    return ids


def renamed(source: Source, file: Path) -> Source:
    """An input whose images have the ids of a file.

    Args:
        source: the input.
        file: as many ids as there are images, or lines `OLD<TAB>NEW` with one for each image.

    Raises:
        DataError: the file has empty or repeated ids. While the images are read: it has too few or
            too many ids, or none for an image.
    """
    pairs = [line.split("\t") for line in read_ids(file)]
    new = [pair[-1].strip() for pair in pairs]
    if not all(new) or {len(pair) for pair in pairs} not in ({1}, {2}):
        raise DataError(f"{file}: expected an id on each line, or on each line `OLD<TAB>NEW`.")
    id_, count = Counter(new).most_common(1)[0]
    if count > 1:
        raise DataError(f"{file}: the id {id_!r} stands there {count} times, expected once.")
    if len(pairs[0]) == 2:
        by_old = {old.strip(): id_ for (old, _), id_ in zip(pairs, new, strict=True)}
        return replace(source, records=_by_name(source.records, by_old, file))
    return replace(source, records=_by_order(source.records, new, file))


def _by_name(outcomes: Iterable[Outcome], new: Mapping[str, str], file: Path) -> Iterator[Outcome]:
    for outcome in outcomes:
        if isinstance(outcome, Failure):
            yield replace(outcome, id=new.get(outcome.id, outcome.id))
        elif outcome.image_id in new:
            yield replace(outcome, image_id=new[outcome.image_id])
        else:
            raise DataError(
                f"{file} has no new id for the image {outcome.image_id!r}. Add a line for it."
            )


def _by_order(outcomes: Iterable[Outcome], new: Sequence[str], file: Path) -> Iterator[Outcome]:
    count = 0
    for outcome, id_ in zip(outcomes, chain(new, [None]), strict=False):
        if id_ is None:
            raise DataError(f"{file} has {len(new):,} ids, but there are more images.")
        count += 1
        is_failure = isinstance(outcome, Failure)
        yield replace(outcome, id=id_) if is_failure else replace(outcome, image_id=id_)
    if count < len(new):
        raise DataError(f"{file} has {len(new):,} ids, but there are {count:,} images.")
