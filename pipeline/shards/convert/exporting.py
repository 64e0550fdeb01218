"""From shards to a file of another project's format."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pipeline.errors import DataError
from pipeline.shards.convert import scan
from pipeline.shards.convert.formats import FORMATS, format_named
from pipeline.shards.reader import ShardReader
from pipeline.shards.records import ImageRegions, ParsedCaption
from pipeline.shards.sidecar import find_sidecars


@dataclass(frozen=True)
class ExportReport:
    """What an export made.

    Attributes:
        images: how many.
        paths: the files or folders.
        notices: what a user of them should know, a sentence each.
    """

    images: int
    paths: tuple[Path, ...]
    notices: tuple[str, ...]


def export_regions(
    shards: Path, out: Path, format_name: str, *, split: str | None = None
) -> ExportReport:
    """Write the regions of a folder of shards in another format, image by image.

    For `scan` the captions go along if the folder holds caption shards.

    Args:
        shards: the folder.
        out: the file, or for `npz` the folder; it must not exist.
        format_name: one of `formats.FORMATS`.
        split: only the images of that split.

    Raises:
        SettingsError: the format is unknown, or `out` does not fit it.
        DataError: `out` exists, or the shards lack what the format needs; the text says what.
    """
    form = format_named(format_name)
    reader = ShardReader(shards, "regions", split)
    paths = form.write(_complete(reader, format_name), out, len(reader))
    notices: list[str] = []
    if format_name == "scan" and find_sidecars(shards, "captions"):
        captions_file = scan.sibling(out, "_caps.txt")
        notices += scan.write_captions(_captions(shards, reader), captions_file)
        paths.append(captions_file)
    lost = _lost(reader[0], form.needs)
    if lost:
        notices.append(f"{format_name} has no place for: {', '.join(lost)}.")
    return ExportReport(len(reader), tuple(paths), tuple(notices))
