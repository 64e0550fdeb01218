"""The pictures of a folder, without a manifest, and what in it is passed over."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import DataError
from pipeline.images import HEIF_SUFFIXES, picture_suffixes
from pipeline.manifests.caption_files import WHOLE
from pipeline.manifests.manifest import ImageItem

SHOWN = 3
"""Names given for each reason why something is passed over."""

SYSTEM_NAMES = frozenset(
    {"__macosx", "icon\r"}  # macOS, whose other ones begin with a dot
    | {"thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information"}
    | {"lost+found", "@eadir", "#recycle", "#snapshot"}  # Linux, network storages
)
"""Files and folders of operating systems, in lower case."""


@dataclass(frozen=True)
class PictureFolder:
    """The pictures of a folder and its subfolders.

    Attributes:
        folder: the folder, or the single picture.
        images: the pictures, sorted by id, in the split `all`. An id is the path relative to the
            folder, so that captions `file#k` find it.
        passed_over: names of files and folders, relative to the folder, by the reason.
    """

    folder: Path
    images: list[ImageItem]
    passed_over: dict[str, list[str]] = field(default_factory=dict)

    def notice(self) -> str:
        """A line that counts what was passed over and why; empty if nothing was."""
        reasons = []
        for reason, names in self.passed_over.items():
            shown = [name if name.isprintable() else ascii(name) for name in names[:SHOWN]]
            more = ["..."] if len(names) > SHOWN else []
            reasons.append(f"{reason}: {len(names):,} ({', '.join(shown + more)})")
        return f"passed over in {self.folder}: {'; '.join(reasons)}" if reasons else ""


def read_picture_folder(folder: Path) -> PictureFolder:
    """Find the pictures in a folder and its subfolders, by the endings that Pillow can decode.

    Linked folders are read once; of two ways to a folder the one without a link gives the ids.
    Instead of a folder it may be a single picture, of any ending.

    Raises:
        DataError: there is no such folder, it has no picture, or the name of one is not printable.
    """
    if folder.is_file():
        return PictureFolder(folder, [_item(folder.name, folder)])
    if not folder.is_dir():
        raise DataError(
            f"expected a folder of pictures, or a picture, at {folder}, "
            "but there is no such folder or file."
        )
    images, passed_over, suffixes = [], {}, picture_suffixes()
    for path, reason in _entries(folder):
        name = path.relative_to(folder).as_posix()
        why_not = reason or _other_ending(path, suffixes)
        if why_not is None:
            images.append(_item(name, path))
        else:
            passed_over.setdefault(why_not, []).append(name)
    found = PictureFolder(folder, sorted(images, key=lambda item: item.image_id), passed_over)
    if not images:
        raise DataError(
            f"no picture in {folder}: expected files that end in {' '.join(sorted(suffixes))}\n"
            f"{found.notice() or 'It is empty.'}"
        )
    return found


def folder_images(folder: Path) -> list[ImageItem]:
    """The pictures of `read_picture_folder`."""
    return read_picture_folder(folder).images


def _item(name: str, path: Path) -> ImageItem:
    if not name.isprintable():
        raise DataError(
            f"the name of the picture {name!a} in {path.parent} is not "
            "printable UTF-8, so no id can be made of it. Rename the file."
        )
    return ImageItem(name, path, WHOLE)


def _entries(top: Path) -> Iterator[tuple[Path, str | None]]:
    """Each file below a folder, and each thing that is passed over, with the reason."""
    waiting, linked = deque([top]), deque[Path]()
    seen: set[tuple[int, int]] = set()
    while waiting or linked:
        place = (waiting or linked).popleft()
        about = place.stat()
        if (about.st_dev, about.st_ino) in seen:
            yield place, "linked folder that is read already"
            continue
        seen.add((about.st_dev, about.st_ino))
        try:
            entries = sorted(place.iterdir())
        except OSError:
            yield place, "folder that cannot be read"
            continue
        for path in entries:
            if path.name.startswith(".") or path.name.lower() in SYSTEM_NAMES:
                yield path, "hidden or of the system"
            elif not path.is_dir():
                yield path, _not_a_file(path)
            elif not path.is_symlink():
                waiting.append(path)
            elif path.resolve() in (place.resolve(), *place.resolve().parents):
                yield path, "link to a folder around it"
            else:
                linked.append(path)


def _not_a_file(path: Path) -> str | None:
    if path.is_file():
        return None
    return "broken link" if path.is_symlink() else "neither file nor folder"


def _other_ending(path: Path, suffixes: frozenset[str]) -> str | None:
    ending = path.suffix.lower()
    if ending in suffixes:
        return None
    if ending in HEIF_SUFFIXES:
        return f"{ending}, to read it pip install 'resg[heif]'"
    return ending or "without an ending"
