"""The regions of a picture, from shards instead of a detector."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.errors import DataError
from pipeline.shards.reader import ShardReader
from pipeline.shards.records import ImageRegions
from resg.data.splits import made_by
from resg.errors import ResgError
from resg.run_folder import RunFolder


def stored_regions(
    run: RunFolder, shards: Path, picture: Path
) -> tuple[ImageRegions, Mapping[str, Sequence[str]]]:
    """The regions of a picture by the name of its file, with or without its ending.

    Args:
        run: that is to read them.
        shards: folder of region shards.
        picture: file of the picture.

    Returns:
        The regions, and the names of the detector's classes by dataset.

    Raises:
        ResgError: no image has that id, or the shards were made by another detector than the run's.
        pipeline.errors.DataError: there are no such shards, or they are damaged.
    """
    reader: ShardReader[ImageRegions] = ShardReader(shards, "regions")
    run.check_fingerprints({"regions": made_by(reader)})
    for image_id in (picture.name, picture.stem):
        try:
            return reader[reader.index(image_id)], reader.names or {}
        except DataError:
            continue
    raise ResgError(
        f"expected regions of {picture.name!r} or {picture.stem!r} in {shards}, there are none. "
        f"Its ids are such as {', '.join(map(repr, reader.ids[:3]))}: name the picture like one."
    )
