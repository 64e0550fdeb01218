"""The folder of an index: `index.json` names its segments; what it does not name does not exist.

A change writes new segments, then replaces `index.json`, then deletes what is no longer named. So a
reader, or a process that is killed, never sees a part of a change.
"""

import fcntl
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.fingerprint import differences, file_digest
from resg.errors import ResgError
from resg.files import write_json
from resg.index.segments import Kind, Segment
from resg.run_folder import BEST_WEIGHTS, SHIPPED, RunFolder

FORMAT = "resg-index"
VERSION = 1
INDEX_FILE = "index.json"


@dataclass(frozen=True)
class FailedPicture:
    """A picture that could not be indexed, and why; it is tried again when its file changes."""

    reason: str
    bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class IndexState:
    """What `index.json` says.

    Attributes:
        matcher: `run` (a name of `SHIPPED` or a path), `preset` and the digest of its `weights`.
        fingerprints: of the detector and the parser of the run, as the run has them.
        width: d.
        root: folder of the pictures, or None where only shards were indexed.
        segments: names and counts of the segments of each kind, in order.
        failures: pictures that are not in the index, by id.
        next_number: of the next segment.
        neighbours: the file of the approximate search and the settings it was made with, or None.
    """

    matcher: Mapping[str, str]
    fingerprints: Mapping[str, Any]
    width: int
    root: str | None = None
    segments: Mapping[Kind, tuple[tuple[str, int], ...]] = field(
        default_factory=lambda: {"images": (), "captions": ()}
    )
    failures: Mapping[str, FailedPicture] = field(default_factory=dict)
    next_number: int = 0
    neighbours: Mapping[str, Any] | None = None

    @classmethod
    def of_run(cls, run: RunFolder) -> "IndexState":
        """An empty index for the matcher of a run."""
        return cls(matcher_of(run), run.data["fingerprints"], run.settings.model.width)


@dataclass(frozen=True)
class IndexFolder:
    """An index on disk, as it was when it was read.

    Attributes:
        path: the folder.
        state: what its `index.json` says.
    """

    path: Path
    state: IndexState

    @classmethod
    def read(cls, path: Path) -> "IndexFolder":
        """Read an index.

        Raises:
            ResgError: it is no index, damaged, or of another version.
        """
        import json

        try:
            content = json.loads((path / INDEX_FILE).read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ResgError(
                f"expected an index in {path}, but it has no {INDEX_FILE}. "
                f"Make one with: resg index PICTURES --out {path}"
            ) from error
        except ValueError as error:
            raise _not_an_index(path, str(error)) from error
        if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
            raise _not_an_index(path, f"no format {FORMAT!r}")
        version = content.pop("version", None)
        if version != VERSION:
            raise ResgError(
                f"{path} has version {version} of the index format, this program reads {VERSION}. "
                "Use the release that made it, or make the index again: resg index."
            )
        try:
            segments = {
                kind: tuple((name, int(count)) for name, count in content["segments"][kind])
                for kind in ("images", "captions")
            }
            failures = {id_: FailedPicture(**told) for id_, told in content["failures"].items()}
            state = IndexState(**content | {"segments": segments, "failures": failures})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _not_an_index(path, f"{type(error).__name__}: {error}") from error
        return cls(path, state)

    def segments(self, kind: Kind) -> list[Segment]:
        """Its segments of a kind, in order."""
        return [Segment(self.path / name, kind, n) for name, n in self.state.segments[kind]]

    def new_path(self, name: str) -> tuple["IndexFolder", Path]:
        """This index with one number used up, and a path of that number: `images-00003`."""
        number = self.state.next_number
        path = self.path / f"{name}-{number:05d}"
        shutil.rmtree(path, ignore_errors=True)  # of a process that was killed
        state = replace(self.state, next_number=number + 1)
        return IndexFolder(self.path, state), path

    def with_segments(self, kind: Kind, segments: list[Segment]) -> "IndexFolder":
        """This index with other segments of a kind; neighbours of the old ones are dropped."""
        named = tuple((segment.path.name, segment.count) for segment in segments)
        state = replace(self.state, segments={**self.state.segments, kind: named}, neighbours=None)
        return IndexFolder(self.path, state)

    def commit(self) -> None:
        """Make this state the one that is read from now on, and delete what it does not name."""
        content = {"format": FORMAT, "version": VERSION, **asdict(self.state)}
        write_json(self.path / INDEX_FILE, content)
        named = {name for segments in self.state.segments.values() for name, _ in segments}
        if self.state.neighbours is not None:
            named.add(self.state.neighbours["file"])
        for path in self.path.iterdir():
            is_ours = path.name.startswith(("images-", "captions-", "neighbours-"))
            if is_ours and path.name not in named:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def check_run(self, run: RunFolder) -> None:
        """Refuse a run whose matcher, detector or parser is not the index's.

        Raises:
            ResgError: it says what differs and what to do.
        """
        own, other = self.state.matcher, matcher_of(run)
        told = [] if own["weights"] == other["weights"] else ["its weights are others"]
        told += differences(self.state.fingerprints, run.data["fingerprints"])
        if told:
            raise ResgError(
                f"{self.path} was made with the matcher {own['run']}, not with {other['run']}: "
                f"{told[0]}.\nGive the run that made it (--run {own['run']}), or index again into "
                "another folder: resg index --out."
            )


def matcher_of(run: RunFolder) -> dict[str, str]:
    """What identifies the matcher of a run."""
    names = {folder: name for name, folder in SHIPPED.items()}
    return {
        "run": names.get(run.folder) or str(run.folder.resolve()),
        "preset": run.settings.preset,
        "weights": file_digest(run.folder / BEST_WEIGHTS),
    }


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Create the folder of an index and keep other writers out.

    Raises:
        ResgError: another process writes to it, or it holds something else.
    """
    if path.exists() and not (path / INDEX_FILE).exists():
        others = [] if path.is_dir() and not any(path.iterdir()) else [path]
        if others and not (path / ".lock").exists():
            raise ResgError(
                f"expected an index or an empty folder at {path}, it holds something else. "
                "Choose another: --out."
            )
    path.mkdir(parents=True, exist_ok=True)
    with (path / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ResgError(
                f"another process writes to {path}. Wait for it, or stop it."
            ) from error
        yield


def _not_an_index(path: Path, why: str) -> ResgError:
    return ResgError(
        f"{path / INDEX_FILE} is not the description of an index: {why}.\n"
        "Copy the index again, or delete it and make it anew: resg index."
    )
