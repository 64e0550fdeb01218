"""What is indexed: the pictures of a folder, the images or captions of shards, a caption file.

A source says which items there are, and reads those that are new. Items are recognised by a digest
of their content, so that a renamed, moved or copied one is not encoded again.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipeline.fingerprint import digest, file_digest
from pipeline.shards.reader import ShardReader
from pipeline.shards.records import Failure, ImageRegions, ParsedCaption
from resg.data.splits import made_by
from resg.errors import ResgError, SettingsError
from resg.index.segments import CaptionEntry, Entry, ImageEntry, Kind
from resg.live import caption_file, picture_folder
from resg.run import Run

Record = ImageRegions | ParsedCaption


class Source(Protocol):
    """Items to index."""

    @property
    def kind(self) -> Kind:
        """What they are."""
        ...

    @property
    def root(self) -> Path | None:
        """Folder of the pictures, or None."""
        ...

    @property
    def notice(self) -> str:
        """A line about what is passed over; empty if nothing is."""
        ...

    def entries(self, known: Mapping[str, Entry]) -> Sequence[Entry]:
        """All items.

        Args:
            known: items of the index by id, whose digest may be taken over.
        """
        ...

    def records(self, run: Run, entries: Sequence[Entry]) -> Iterator[Record | Failure]:
        """Read items to encode them, in order."""
        ...


@dataclass(frozen=True)
class PictureSource:
    """The pictures of a folder and its subfolders.

    Attributes:
        root: the folder.
        paths: file of each picture by id.
        notice: what in the folder is passed over.
        workers: pictures worked on at once; None for the cores of this process.
    """

    root: Path
    paths: Mapping[str, Path]
    notice: str = ""
    workers: int | None = None
    kind: Kind = "images"

    @classmethod
    def of_folder(cls, folder: Path, workers: int | None = None) -> "PictureSource":
        """The pictures in a folder.

        Raises:
            pipeline.errors.DataError: there is no such folder, or it has no picture.
        """
        if folder.is_file():
            raise ResgError(
                f"expected a folder of pictures, {folder} is a file. To search with one picture: "
                "resg search INDEX --image FILE."
            )
        found = picture_folder(folder)
        paths = {item.image_id: item.path for item in found.images}
        return cls(folder.resolve(), paths, found.notice(), workers)

    def entries(self, known: Mapping[str, Entry]) -> Sequence[Entry]:
        """All pictures; one whose size and time are known is not read."""
        return [_picture_entry(id_, path, known.get(id_)) for id_, path in self.paths.items()]

    def records(self, run: Run, entries: Sequence[Entry]) -> Iterator[Record | Failure]:
        """Regions of pictures, or why there are none."""
        return run.detect_all([(entry.id, self.paths[entry.id]) for entry in entries], self.workers)


def _picture_entry(id_: str, path: Path, known: Entry | None) -> ImageEntry:
    about = path.stat()
    entry = ImageEntry(id_, "", about.st_size, about.st_mtime_ns)
    if isinstance(known, ImageEntry) and (known.bytes, known.mtime_ns) == (
        entry.bytes,
        entry.mtime_ns,
    ):
        return known
    try:
        content = file_digest(path)
    except OSError as error:  # becomes a failure when it is decoded
        content = f"unreadable: {error.strerror}"
    return ImageEntry(id_, content, entry.bytes, entry.mtime_ns)


@dataclass(frozen=True)
class ShardSource:
    """The images or the captions of a folder of shards.

    Attributes:
        reader: of the shards.
        kind: which of the two.
        root: folder of the pictures that the ids of images name, or None.
    """

    reader: ShardReader[ImageRegions] | ShardReader[ParsedCaption]
    kind: Kind
    root: Path | None = None
    notice: str = ""

    @classmethod
    def open(
        cls, run: Run, shards: Path, kind: Kind, split: str | None, root: Path | None = None
    ) -> "ShardSource":
        """The shards of a folder.

        Raises:
            ResgError: they were made by another detector or parser than the run's.
            pipeline.errors.DataError: there are none, or they are damaged.
        """
        reader = ShardReader(shards, "regions" if kind == "images" else "captions", split)
        run.folder.check_fingerprints({reader.kind: made_by(reader)})
        return cls(reader, kind, root)

    def entries(self, known: Mapping[str, Entry]) -> Sequence[Entry]:
        """All records that have a node."""
        hashes = [sidecar.sha256[:16] for sidecar in self.reader.sidecars]
        found: list[Entry] = []
        for index, (id_, nodes) in enumerate(
            zip(self.reader.ids, self.reader.lengths, strict=True)
        ):
            shard, row = self.reader.locate(index)
            if not nodes:
                continue
            content = f"{hashes[shard]}:{row}"
            if self.kind == "images":
                found.append(ImageEntry(id_, content))
            else:
                own = known.get(id_)
                text = (
                    own.text
                    if isinstance(own, CaptionEntry) and own.digest == content
                    else self._caption(index).text
                )
                found.append(CaptionEntry(id_, content, text, self.reader.image_ids[index]))
        return found

    def records(self, run: Run, entries: Sequence[Entry]) -> Iterator[Record | Failure]:
        """Records as the shards have them."""
        for entry in entries:
            yield self.reader[self.reader.index(entry.id)]

    def _caption(self, index: int) -> ParsedCaption:
        record = self.reader[index]
        assert isinstance(record, ParsedCaption), "a reader of captions"
        return record


@dataclass(frozen=True)
class CaptionSource:
    """Captions of a file, of any format that parse-captions reads.

    Attributes:
        captions: id, image id and text of each.
    """

    captions: Sequence[tuple[str, str, str]]
    kind: Kind = "captions"
    root: Path | None = None
    notice: str = ""

    @classmethod
    def of_file(cls, path: Path) -> "CaptionSource":
        """The captions of a file.

        Raises:
            pipeline.errors.DataError: there is no such file, or its format is not known.
        """
        return cls(caption_file(path))

    def entries(self, known: Mapping[str, Entry]) -> Sequence[Entry]:
        """All captions."""
        return [CaptionEntry(id_, digest(text), text, image) for id_, image, text in self.captions]

    def records(self, run: Run, entries: Sequence[Entry]) -> Iterator[Record | Failure]:
        """Parsed captions, or why one cannot be parsed."""
        items = [(entry.id, entry.text) for entry in entries if isinstance(entry, CaptionEntry)]
        return run.parse_all(items)


def choose_sources(
    run: Run,
    pictures: Path | None,
    shards: Path | None,
    captions: Path | None,
    split: str | None = None,
    root: Path | None = None,
    workers: int | None = None,
) -> list[Source]:
    """The sources that the options of `resg index` name.

    Raises:
        SettingsError: they name no images, or images twice.
    """
    if pictures is not None and shards is not None:
        raise SettingsError("expected either PICTURES or --shards, got both.")
    if pictures is None and shards is None and captions is None:
        raise SettingsError("expected a folder of PICTURES, --shards DIR or --captions.")
    if shards is None and (split or root):
        raise SettingsError("--split and --root go with --shards DIR.")
    sources: list[Source] = []
    if pictures is not None:
        sources.append(PictureSource.of_folder(pictures, workers))
    if shards is not None:
        sources.append(ShardSource.open(run, shards, "images", split, root))
    if captions is not None:
        is_folder = captions.is_dir()
        sources.append(
            ShardSource.open(run, captions, "captions", split)
            if is_folder
            else CaptionSource.of_file(captions)
        )
    return sources
