"""`resg.Index`: an index that is opened to be searched."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.shards.records import ImageRegions, ParsedCaption
from resg.errors import ResgError
from resg.index.build import IndexReport, OnProgress, update_index
from resg.index.folder import IndexFolder
from resg.index.neighbours import Neighbours, open_neighbours
from resg.index.segments import CaptionEntry, Entry, Kind
from resg.index.sources import PictureSource
from resg.models.encoded import Encoded
from resg.run import Run, load
from resg.run_folder import SHIPPED
from resg.search.query import unknown_words

RERANKED = 100
"""Items of the first stage that are scored by their nodes."""

SCORED_TOGETHER = 1000


@dataclass(frozen=True)
class Hit:
    """An image or a caption that was found.

    Attributes:
        rank: 1 for the best.
        id: of the image or caption.
        score: of the matcher where an image meets a caption; else the cosine of embeddings.
        path: file of the image, or None where the index has no folder of pictures.
        text: of the caption, empty for an image.
        image_id: the image itself, or the image that the caption describes.
        row: of the item in the index.
    """

    rank: int
    id: str
    score: float
    path: Path | None
    text: str
    image_id: str
    row: int


@dataclass(frozen=True)
class Answer:
    """What a query found.

    Attributes:
        hits: best first.
        unknown: words of the query that the matcher does not know.
    """

    hits: list[Hit]
    unknown: list[str]


class Items:
    """The images or the captions of an index.

    Args:
        folder: the index.
        kind: which of the two.
    """

    def __init__(self, folder: IndexFolder, kind: Kind) -> None:
        self.folder: IndexFolder = folder
        self.kind: Kind = kind
        self.segments = folder.segments(kind)
        self.starts = [0, *accumulate(segment.count for segment in self.segments)]

    def __len__(self) -> int:
        return self.starts[-1]

    @cached_property
    def neighbours(self) -> Neighbours:
        """The first stage."""
        return open_neighbours(self.folder, self.kind)

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Row of each item by its id."""
        entries = (entry for segment in self.segments for entry in segment.entries)
        return {entry.id: row for row, entry in enumerate(entries)}

    def entry(self, row: int) -> Entry:
        """What is known of an item.

        Raises:
            IndexError: there is no such row.
        """
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)} {self.kind}")
        segment = bisect_right(self.starts, row) - 1
        return self.segments[segment].entries[row - self.starts[segment]]

    def encoded(self, rows: NDArray[np.int64]) -> Encoded:
        """Items by row, which must ascend."""
        cuts = np.searchsorted(rows, self.starts)
        return Encoded.cat(
            [
                self.segments[number].encoded((rows[start:end] - self.starts[number]).tolist())
                for number, (start, end) in enumerate(pairwise(cuts))
                if end > start
            ]
        )


class Index:
    """An index of pictures, opened to be searched; `resg index` and `Index.build` make one.

    Args:
        path: folder of the index.
        run: the run that made it, or its name or folder; None for the one that it names.
        root: where the pictures are now, if their folder was moved.
        device: where the matcher runs, as for `resg.load`.
        detector: the run's detector, as for `resg.load`.

    Raises:
        ResgError: it is no index, was made with another run, or its run or its pictures are no
            longer where they were.

    Example:
        >>> import resg
        >>> index = resg.Index(path)
        >>> answer = index.search("a red dog", k=3)
        >>> [hit.rank for hit in answer.hits]
        [1, 2, 3]
        >>> similar = index.search(image_id=answer.hits[0].id, k=1)
        >>> similar.hits[0].id == answer.hits[0].id  # the most similar picture is itself
        True
    """

    def __init__(
        self,
        path: str | Path,
        run: Run | str | Path | None = None,
        *,
        root: str | Path | None = None,
        device: str = "auto",
        detector: str | None = None,
    ) -> None:
        self.folder = IndexFolder.read(Path(path))
        if not isinstance(run, Run):
            run = self._load_run(run, device, detector)
        self.folder.check_run(run.folder)
        self.run = run
        self.root = self._checked_root(root)
        self.images, self.captions = Items(self.folder, "images"), Items(self.folder, "captions")

    def _load_run(self, run: str | Path | None, device: str, detector: str | None) -> Run:
        named = self.folder.state.matcher["run"]
        if run is None and named not in SHIPPED and not Path(named).is_dir():
            raise ResgError(
                f"expected the run of {self.folder.path} in {named}, that folder no longer exists. "
                "Say where it is now: --run RUN (run=... of resg.Index)."
            )
        return load(named if run is None else run, device=device, detector=detector)

    def _checked_root(self, root: str | Path | None) -> Path | None:
        where = self.folder.state.root if root is None else root
        if where is not None and not Path(where).is_dir():
            raise ResgError(
                f"expected the pictures of {self.folder.path} in {where}, there is no such folder. "
                "Say where they are now: --root DIR (root=... of resg.Index)."
            )
        return None if where is None else Path(where)

    def __repr__(self) -> str:
        return (
            f"<Index {self.folder.path}: {len(self.images):,} images, "
            f"{len(self.captions):,} captions>"
        )

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def build(
        cls,
        pictures: str | Path,
        out: str | Path,
        run: Run | str | Path = "photos",
        *,
        device: str = "auto",
        on_progress: OnProgress = lambda progress: None,
    ) -> "tuple[Index, IndexReport]":
        """Index a folder of pictures, or bring its index up to date; then open it.

        Args:
            pictures: folder with pictures, subfolders included.
            out: folder of the index.
            run: encodes them: a run, its folder, or the name of a shipped one.
            device: where the matcher runs.
            on_progress: is called now and then.

        Returns:
            The index, and what was done; `failures` of the report has the pictures left out.

        Raises:
            ResgError: the index is another run's, or no picture could be indexed.
        """
        opened = run if isinstance(run, Run) else load(run, device=device)
        source = PictureSource.of_folder(Path(pictures))
        report = update_index(Path(out), opened, [source], on_progress=on_progress)
        return cls(out, opened), report

    def prepare(self) -> None:
        """Load what the first query would wait for: the parser, the first stage and the ids.

        Raises:
            ResgError: the run's captions were parsed by another model, or a file is damaged.
        """
        self.run.parse_captions(["a picture"])
        for items in (self.images, self.captions):
            if len(items):
                _ = items.neighbours, items.row_of

    def search(
        self,
        text: str | None = None,
        *,
        image: str | Path | None = None,
        image_id: str | None = None,
        find: Kind = "images",
        k: int = 10,
    ) -> Answer:
        """Find the images or captions that match a text or a picture best.

        A match of an image with a caption is scored in two stages: by embeddings, then the best
        100 by the matcher's own score, which compares their nodes. Two images, or two captions, are
        compared by the cosine of their embeddings.

        Args:
            text: the query, in English.
            image: file of a picture as the query.
            image_id: an indexed image as the query.
            find: what to look for.
            k: how many at most.

        Raises:
            ResgError: there is not exactly one query, it cannot be used, or the index has none of
                what is looked for.
            pipeline.errors.DataError: the text is empty, too long or not in Latin letters; the
                picture cannot be decoded, or has no region.
        """
        if sum(query is not None for query in (text, image, image_id)) != 1:
            raise ResgError("expected one query: a text, a picture or the id of an indexed image.")
        if text is not None:
            (parsed,) = self.run.parse_captions([text])
            return self.search_parsed(parsed, find=find, k=k)
        if image_id is not None:
            row = np.array([self.row_of(image_id)])
            return self._answer("images", self.images.encoded(row), find, k)
        assert image is not None, "one of the three is given"
        return self.search_regions(self.run.detect_regions(image), find=find, k=k)

    def search_parsed(
        self, caption: ParsedCaption, *, find: Kind = "images", k: int = 10
    ) -> Answer:
        """`search` for a parsed caption."""
        vocabulary, encoder = self.run.folder.vocabulary, self.run.settings.model.text.encoder
        unknown = unknown_words(caption, vocabulary if encoder == "gru" else None)
        return self._answer("captions", self.run.encode_captions([caption]), find, k, unknown)

    def search_regions(
        self, regions: ImageRegions, *, find: Kind = "images", k: int = 10
    ) -> Answer:
        """`search` for the regions of a picture."""
        return self._answer("images", self.run.encode_images([regions]), find, k)

    def row_of(self, image_id: str) -> int:
        """Row of an image.

        Raises:
            ResgError: it is not in the index.
        """
        row = self.images.row_of.get(image_id)
        if row is None:
            raise ResgError(f"{self.folder.path} has no image {image_id!r}.")
        return row

    def picture(self, image_id: str) -> Path | None:
        """File of an image, or None where the index has no folder of pictures."""
        return None if self.root is None else self.root / image_id

    def _answer(
        self, kind: Kind, query: Encoded, find: Kind, k: int, unknown: Sequence[str] = ()
    ) -> Answer:
        items = self.images if find == "images" else self.captions
        if not len(items):
            raise ResgError(
                f"{self.folder.path} has no {find}. Add some: resg index --out "
                f"{self.folder.path} with {'PICTURES' if find == 'images' else '--captions FILE'}."
            )
        rows, scores = self._ranked(items, query, kind != find, max(k, 1))
        hits = [
            self._hit(rank, items, int(row), float(score))
            for rank, (row, score) in enumerate(zip(rows, scores, strict=True), start=1)
        ]
        return Answer(hits, list(unknown))

    def _ranked(
        self, items: Items, query: Encoded, is_pair: bool, k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Rows and scores of the best k; equal scores in the order of ids."""
        similarity = self.run.settings.model.similarity
        if is_pair and not similarity.embeddings:  # no first stage was trained
            rows, scores = np.arange(len(items)), np.zeros(len(items), np.float32)
        else:
            vectors = query.embeddings.cpu().numpy()
            products, found = items.neighbours.nearest(vectors, max(k, RERANKED))
            is_there = found[0] >= 0
            rows, scores = found[0][is_there], products[0][is_there]
        if is_pair and similarity.nodes != "none":
            rows = np.sort(rows)
            parts = [
                self._pair_scores(items, rows[start : start + SCORED_TOGETHER], query)
                for start in range(0, len(rows), SCORED_TOGETHER)
            ]
            scores = np.concatenate(parts)
        ids = np.array([items.entry(int(row)).id for row in rows])
        order = np.lexsort((ids, -scores))[:k]
        return rows[order], scores[order]

    def _pair_scores(
        self, items: Items, rows: NDArray[np.int64], query: Encoded
    ) -> NDArray[np.float32]:
        candidates = items.encoded(rows).to(self.run.device)
        if items.kind == "images":
            return self.run.similarity(candidates, query)[:, 0]
        return self.run.similarity(query, candidates)[0]

    def _hit(self, rank: int, items: Items, row: int, score: float) -> Hit:
        entry = items.entry(row)
        if isinstance(entry, CaptionEntry):
            return Hit(rank, entry.id, score, None, entry.text, entry.image_id, row)
        return Hit(rank, entry.id, score, self.picture(entry.id), "", entry.id, row)
