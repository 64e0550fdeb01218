"""Write shards in the format of another project."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import cast

from pipeline.errors import DataError, SettingsError
from pipeline.image_ids import join_ids
from pipeline.shards.convert import scan
from pipeline.shards.convert.formats import FORMATS, WRITTEN, format_named
from pipeline.shards.convert.output import refuse_existing
from pipeline.shards.reader import ShardReader
from pipeline.shards.records import ImageRegions
from pipeline.shards.sidecar import find_sidecars


@dataclass(frozen=True)
class ExportReport:
    """The result of an export.

    Attributes:
        images: number of images.
        paths: the files or folders.
        notices: sentences that a user of the files should read.
    """

    images: int
    paths: tuple[Path, ...]
    notices: tuple[str, ...]


def export_regions(
    shards: Path, out: Path, format_name: str, *, split: str | None = None
) -> ExportReport:
    """Write the regions of a folder of shards in another format, image by image.

    For `scan` the captions are exported too, if the folder has caption shards.

    Args:
        shards: the folder.
        out: the file, or for `npz` the folder; it must not exist.
        format_name: one of `formats.FORMATS`.
        split: export only the images of this split.

    Raises:
        SettingsError: the format is unknown, or `out` does not suit it.
        DataError: `out` exists, or the shards lack what the format needs; the message says what.
    """
    form = format_named(format_name)
    if form.write is None:
        raise SettingsError(
            f"{format_name} can be imported alone: expected one of {', '.join(WRITTEN)}."
        )
    reader = ShardReader(shards, "regions", split)
    if len(reader) == 0:
        raise DataError(f"{shards} holds no images: extract or import some first.")
    refuse_existing(out)
    paths = form.write(_complete(reader, format_name), out, len(reader))
    notices = _lost(reader, format_name)
    captions = _captions(shards, reader) if format_name == "scan" else ()
    if captions:
        try:
            captions_file = scan.sibling(out, "_caps.txt")
            notices += scan.write_captions(captions, captions_file)
        except BaseException:
            for path in paths:  # an array without its captions would look like a whole export
                path.unlink()
            raise
        paths.append(captions_file)
    return ExportReport(len(reader), tuple(paths), tuple(notices))


def _complete(reader: ShardReader, format_name: str) -> Iterator[ImageRegions]:
    """The images, after a check that each has all that the format needs.

    Raises:
        DataError: an image lacks something; the message lists formats that need less.
    """
    needs = FORMATS[format_name].needs
    for record in cast(Iterator[ImageRegions], iter(reader)):
        missing = [name for name in needs if getattr(record, name) is None]
        if missing:
            fits = [
                name
                for name, form in WRITTEN.items()
                if all(getattr(record, need) is not None for need in form.needs)
            ]
            raise DataError(
                f"{format_name} needs {', '.join(needs)}: {reader.directory} lacks "
                f"{', '.join(missing)} (image {record.image_id}).\n"
                f"What it holds can be exported to {', '.join(fits)}."
            )
        yield record


def _captions(shards: Path, images: ShardReader) -> Iterable[tuple[str, list[str]]]:
    """Each image's id and captions; nothing if no image has a caption."""
    if not find_sidecars(shards, "captions"):
        return ()
    captions = ShardReader(shards, "captions")
    described = join_ids(images.ids, captions.image_ids)
    if not described:
        return ()
    return (
        (image_id, [captions[i].text for i in captions.captions_of(described.get(image_id, ""))])
        for image_id in images.ids
    )


def _lost(reader: ShardReader, format_name: str) -> list[str]:
    """A notice of what the format cannot hold."""
    record = cast(ImageRegions, reader[0])
    lost = [
        field.name
        for field in fields(record)
        if field.name not in ("image_id", "features", *FORMATS[format_name].keeps)
        and getattr(record, field.name) is not None
    ]
    if reader.names:
        lost.append("class names")
    return [f"{format_name} has no place for {', '.join(lost)}."] if lost else []
