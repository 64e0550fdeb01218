"""Make an index, or bring one up to date: encode what is new, drop what is gone."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from pipeline.shards.records import Failure
from resg.errors import ResgError
from resg.index.folder import FailedPicture, IndexFolder, IndexState, writing
from resg.index.neighbours import build_neighbours
from resg.index.segments import Entry, ImageEntry, Kind, Piece, write_encoded, write_pieces
from resg.index.sources import Record, Source
from resg.models.encoded import Encoded
from resg.run import Run

SEGMENT_ITEMS = 4096
"""Items of a full segment: what one removed picture makes the index write again."""

COMMIT_SECONDS = 30.0
"""Longest time of work that a crash can lose."""

BATCH = 32
"""Items that are encoded together."""


class IndexingInterrupted(KeyboardInterrupt):
    """The user stopped indexing; what was encoded is kept. Its text says how to go on."""


@dataclass(frozen=True)
class Progress:
    """How far encoding is.

    Attributes:
        kind: of the items.
        done: items that are encoded or have failed.
        total: items to encode.
        failed: how many have failed.
    """

    kind: Kind
    done: int
    total: int
    failed: int


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class IndexReport:
    """What an update of an index did.

    Attributes:
        out: the index.
        items: how many images and captions it has now.
        encoded: how many were new.
        kept: how many were in it and stay, renamed ones included.
        removed: how many are no longer in it.
        failures: reason by id for the pictures and captions that cannot be indexed.
        bytes_per_image: bytes of the folder for each image, neighbours included.
        seconds: how long it took.
    """

    out: Path
    items: Mapping[Kind, int]
    encoded: int = 0
    kept: int = 0
    removed: int = 0
    failures: Mapping[str, str] = field(default_factory=dict)
    bytes_per_image: float = 0.0
    seconds: float = 0.0


def update_index(
    out: Path,
    run: Run,
    sources: Sequence[Source],
    *,
    retry_failed: bool = False,
    on_progress: OnProgress = lambda progress: None,
) -> IndexReport:
    """Make the items of an index those of the sources; only new ones are encoded.

    A kind without a source stays as it is.

    Args:
        out: folder of the index, which is created if needed.
        run: encodes them; of an existing index it must be the run that made it.
        sources: at most one of each kind.
        retry_failed: try pictures again that failed and have not changed.
        on_progress: is called now and then.

    Raises:
        ResgError: the index is another run's or damaged, another process writes to it, or nothing
            could be indexed.
        IndexingInterrupted: Ctrl-C; what was encoded is kept.
    """
    start = time.monotonic()
    with writing(out):
        folder = _opened(out, run, sources)
        report = IndexReport(out, {})
        for source in sources:
            folder, report = _update(folder, report, run, source, retry_failed, on_progress)
        items = {
            kind: sum(s.count for s in folder.segments(kind)) for kind in ("images", "captions")
        }
        if not items["images"] and not items["captions"]:
            raise ResgError(
                f"nothing could be indexed: {_examples(report.failures)}\n"
                "Name a folder with pictures that can be read."
            )
        folder = build_neighbours(folder)
        folder.commit()
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    return replace(
        report,
        items=items,
        bytes_per_image=size / max(1, items["images"]),
        seconds=time.monotonic() - start,
    )


def _opened(out: Path, run: Run, sources: Sequence[Source]) -> IndexFolder:
    """The index, checked against the run, or a new one; with the root of the pictures."""
    if (out / "index.json").exists():
        folder = IndexFolder.read(out)
        folder.check_run(run.folder)
    else:
        folder = IndexFolder(out, IndexState.of_run(run.folder))
    roots = [str(source.root) for source in sources if source.kind == "images" and source.root]
    state = folder.state
    return IndexFolder(out, replace(state, root=roots[0] if roots else state.root))


def _update(
    folder: IndexFolder,
    report: IndexReport,
    run: Run,
    source: Source,
    retry_failed: bool,
    on_progress: OnProgress,
) -> tuple[IndexFolder, IndexReport]:
    """Bring one kind up to date: first what stays, then what is new."""
    segments = folder.segments(source.kind)
    places = {
        entry.id: (segment, row)
        for segment in segments
        for row, entry in enumerate(segment.entries)
    }
    known = {entry.id: entry for segment in segments for entry in segment.entries}
    wanted = source.entries(known)
    failed = {} if retry_failed else folder.state.failures
    kept, new, bad = _divide(wanted, places, known, failed)
    pieces = [
        Piece(segment, [row for row, _ in rows], [entry for _, entry in rows])
        for segment in segments
        if (rows := kept.get(segment.path.name))
    ]
    folder = _compacted(folder, source.kind, pieces)
    if source.kind == "images":
        folder = IndexFolder(folder.path, replace(folder.state, failures=bad))
    folder.commit()
    num_kept = sum(len(piece.rows) for piece in pieces)
    folder, failures = _add(folder, run, source, new, on_progress)
    last = [
        Piece(segment, range(segment.count), segment.entries)
        for segment in folder.segments(source.kind)
    ]
    folder = _compacted(folder, source.kind, last)
    folder.commit()
    told = {id_: failure.reason for id_, failure in bad.items()} | failures
    return folder, replace(
        report,
        encoded=report.encoded + len(new) - len(failures),
        kept=report.kept + num_kept,
        removed=report.removed + len(set(places) - {entry.id for entry in wanted}),
        failures={**report.failures, **told},
    )


def _divide(
    wanted: Sequence[Entry],
    places: Mapping[str, tuple],
    known: Mapping[str, Entry],
    failed: Mapping[str, FailedPicture],
) -> tuple[dict[str, list[tuple[int, Entry]]], list[Entry], dict[str, FailedPicture]]:
    """Which rows of which segments are kept, for which item; what is new; what failed before.

    A row is kept for an item of the same content: the one of its id, else one that lost its item.
    """
    kept: dict[str, list[tuple[int, Entry]]] = {}
    unplaced: list[Entry] = []
    used: set[str] = set()

    def keep(old: str, entry: Entry) -> None:
        segment, row = places[old]
        kept.setdefault(segment.path.name, []).append((row, entry))
        used.add(old)

    for entry in wanted:
        old = known.get(entry.id)
        if old is not None and old.digest == entry.digest:
            keep(entry.id, entry)
        else:
            unplaced.append(entry)
    spare = {old.digest: id_ for id_, old in known.items() if id_ not in used}
    new: list[Entry] = []
    bad: dict[str, FailedPicture] = {}
    for entry in unplaced:
        before = failed.get(entry.id)
        if entry.digest in spare:
            keep(spare.pop(entry.digest), entry)
        elif (
            before is not None
            and isinstance(entry, ImageEntry)
            and (before.bytes, before.mtime_ns) == (entry.bytes, entry.mtime_ns)
        ):
            bad[entry.id] = before
        else:
            new.append(entry)
    for rows in kept.values():
        rows.sort(key=lambda pair: pair[0])
    return kept, new, bad


def _compacted(folder: IndexFolder, kind: Kind, pieces: Sequence[Piece]) -> IndexFolder:
    """The index with these rows alone, where small neighbouring segments become one."""
    groups: list[list[Piece]] = []
    for piece in pieces:
        size = sum(len(p.rows) for p in groups[-1]) if groups else SEGMENT_ITEMS
        if size + len(piece.rows) <= SEGMENT_ITEMS:
            groups[-1].append(piece)
        else:
            groups.append([piece])
    segments = []
    for group in groups:
        first = group[0]
        if len(group) == 1 and first.is_whole and first.entries == first.segment.entries:
            segments.append(first.segment)
        else:
            folder, path = folder.new_path(kind)
            segments.append(write_pieces(path, group))
    if segments == folder.segments(kind):
        return folder
    return folder.with_segments(kind, segments)


def _add(
    folder: IndexFolder,
    run: Run,
    source: Source,
    new: Sequence[Entry],
    on_progress: OnProgress,
) -> tuple[IndexFolder, dict[str, str]]:
    """Encode new items, and commit them now and then; returns the reasons of those that failed."""
    failures: dict[str, str] = {}
    waiting: list[tuple[Entry, Encoded]] = []
    done, since = 0, time.monotonic()
    outcomes = zip(new, source.records(run, new), strict=True) if new else iter(())
    try:
        on_progress(Progress(source.kind, 0, len(new), 0))
        while batch := list(islice(outcomes, BATCH)):
            found = [(e, record) for e, record in batch if not isinstance(record, Failure)]
            bad = {record.id: record.reason for _, record in batch if isinstance(record, Failure)}
            failures |= bad
            folder = _with_failures(folder, [entry for entry, _ in batch if entry.id in bad], bad)
            if found:
                encoded = encode(run, source.kind, [record for _, record in found])
                waiting += [
                    (entry, encoded.rows(row, row + 1)) for row, (entry, _) in enumerate(found)
                ]
            done += len(batch)
            is_due = time.monotonic() - since > COMMIT_SECONDS
            if len(waiting) >= SEGMENT_ITEMS or is_due:
                folder, since = _flushed(folder, source.kind, waiting), time.monotonic()
                waiting = []
            on_progress(Progress(source.kind, done, len(new), len(failures)))
    except KeyboardInterrupt as stop:
        folder = _flushed(folder, source.kind, waiting)
        raise IndexingInterrupted(
            f"Stopped: {done:,} of {len(new):,} new {source.kind} are in {folder.path}.\n"
            "Run the same command again to index the others."
        ) from stop
    return _flushed(folder, source.kind, waiting), failures


def encode(run: Run, kind: Kind, records: Sequence[Record]) -> Encoded:
    """Images or captions, encoded by a run."""
    return run.encode_images(records) if kind == "images" else run.encode_captions(records)  # type: ignore[arg-type]


def _with_failures(
    folder: IndexFolder, entries: Iterable[Entry], reasons: Mapping[str, str]
) -> IndexFolder:
    failures = dict(folder.state.failures)
    for entry in entries:
        if isinstance(entry, ImageEntry):
            failures[entry.id] = FailedPicture(reasons[entry.id], entry.bytes, entry.mtime_ns)
    return IndexFolder(folder.path, replace(folder.state, failures=failures))


def _flushed(
    folder: IndexFolder, kind: Kind, waiting: Sequence[tuple[Entry, Encoded]]
) -> IndexFolder:
    """The index with a segment of what was encoded, committed."""
    for part in _parts(waiting):
        folder, path = folder.new_path(kind)
        encoded = Encoded.cat([encoded for _, encoded in part])
        segment = write_encoded(path, kind, [entry for entry, _ in part], encoded)
        folder = folder.with_segments(kind, [*folder.segments(kind), segment])
    folder.commit()
    return folder


def _parts(waiting: Sequence[tuple[Entry, Encoded]]) -> Iterator[Sequence[tuple[Entry, Encoded]]]:
    for start in range(0, len(waiting), SEGMENT_ITEMS):
        yield waiting[start : start + SEGMENT_ITEMS]


def _examples(failures: Mapping[str, str]) -> str:
    shown = [f"{id_}: {reason}" for id_, reason in list(failures.items())[:3]]
    return "; ".join(shown) or "there are no items."
