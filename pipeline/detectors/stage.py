"""The stage of `pipeline extract-regions`: pictures in, region records out."""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from pipeline.detectors.base import (
    DetectedRegions,
    DetectorInfo,
    PreparedPicture,
    RegionDetector,
)
from pipeline.detectors.specification import DetectorSpec, open_detector
from pipeline.errors import DataError
from pipeline.images import MAX_MEGAPIXELS, load_image
from pipeline.manifests.manifest import ImageItem
from pipeline.shards.reader import ShardReader
from pipeline.shards.records import Failure, ImageRegions
from pipeline.shards.schema import Kind

DECODERS = 8
"""Threads that decode pictures while a GPU works."""

BATCHES_AHEAD = 3
"""Batches that are decoded or running on a GPU ahead of the one whose regions are selected."""

Finish = Callable[[], list[DetectedRegions]]
_Started = tuple[Sequence[PreparedPicture | Failure], Finish]

_opened: dict[tuple[Any, ...], RegionDetector] = {}
_opening = threading.Lock()


@dataclass(frozen=True)
class RegionStage:
    """Region extraction as a stage of `pipeline.execution`; made by `RegionStage.create`.

    Attributes:
        detector: as after `--detector`.
        regions: how many to keep, or None for the detector's own.
        device: cpu or cuda:N; the output does not depend on it beyond rounding.
        batch: pictures per GPU batch; those of one size run together.
        dtype: float type of the shards.
        max_megapixels: largest picture to decode.
        half: whether a GPU computes in half precision.
        info: the detector's metadata.
        weights: digests of the detector's files.
    """

    detector: str
    info: DetectorInfo
    weights: Mapping[str, Any] = field(hash=False)
    regions: str | None = None
    device: str = "cpu"
    batch: int = 8
    dtype: str = "float16"
    max_megapixels: float = MAX_MEGAPIXELS
    half: bool = False

    @classmethod
    def create(cls, detector: str, **settings: Any) -> Self:
        """Open the detector once, to check it and to read its metadata.

        Args:
            detector: as after `--detector`.
            **settings: the other attributes; `device` may be `auto` or `cuda`, too.

        Raises:
            PipelineError: the detector cannot be opened.
        """
        device = DetectorSpec.parse(detector).device(settings.pop("device", "cpu"))
        opened = open_detector(
            detector,
            regions=settings.get("regions"),
            device=device,
            half=settings.get("half", False),
        )
        stage = cls(detector, opened.info, opened.fingerprint, device=device, **settings)
        if stage.device == "cpu":  # on a GPU it would take memory from the worker processes
            with _opening:
                _opened[stage._key(threads=1)] = opened
        return stage

    @property
    def kind(self) -> Kind:
        """Regions."""
        return "regions"

    @property
    def name(self) -> str:
        """Name of the command."""
        return "extract-regions"

    @property
    def names(self) -> Mapping[str, Sequence[str]]:
        """Class and attribute names."""
        return self.info.names

    @property
    def settings(self) -> Mapping[str, Any]:
        """Settings that the output depends on; the fingerprint identifies the detector's files."""
        selection = self.info.selection.selection(self.regions)
        return {
            "detector": self.info.name,
            "domain": self.info.domain,
            "min_regions": selection.min_regions,
            "max_regions": selection.max_regions,
            "score_threshold": selection.score_threshold,
            "nms_threshold": selection.nms_threshold,
            "max_megapixels": self.max_megapixels,
            "dtype": self.dtype,
            "half": self.half,
        }

    def fingerprint(self) -> Mapping[str, Any]:
        """Digests of the detector's files."""
        return self.weights

    def process(self, items: Sequence[ImageItem], threads: int) -> Iterator[ImageRegions | Failure]:
        """Regions of each picture, or the reason why there are none."""
        detector = self._open(threads)
        if self.device == "cpu":  # one picture at a time keeps the caches warm
            for item in items:
                loaded = [self._load(detector, item)]
                yield from self._outcomes(detector, [item], *_start(detector, loaded))
            return
        with ThreadPoolExecutor(DECODERS) as decoders, ThreadPoolExecutor(1) as feeder:
            started: deque[tuple[Sequence[ImageItem], Future[_Started]]] = deque()
            for start in range(0, len(items), self.batch):
                batch = items[start : start + self.batch]
                loading = [decoders.submit(self._load, detector, item) for item in batch]
                started.append((batch, feeder.submit(_start_decoded, detector, loading)))
                if len(started) > BATCHES_AHEAD:
                    batch, running = started.popleft()
                    yield from self._outcomes(detector, batch, *running.result())
            for batch, running in started:
                yield from self._outcomes(detector, batch, *running.result())

    def _load(self, detector: RegionDetector, item: ImageItem) -> PreparedPicture | Failure:
        try:
            picture = load_image(Path(item.path), max_megapixels=self.max_megapixels)
        except DataError as error:
            return Failure(item.id, str(error))
        return detector.prepare(picture)

    def _outcomes(
        self,
        detector: RegionDetector,
        items: Sequence[ImageItem],
        loaded: Sequence[PreparedPicture | Failure],
        finish: Finish,
    ) -> Iterator[ImageRegions | Failure]:
        found = iter(finish())
        for item, picture in zip(items, loaded, strict=True):
            if isinstance(picture, Failure):
                yield picture
                continue
            regions = next(found)
            if len(regions.boxes):
                yield regions.record(item.id, detector.info)
            else:
                height, width = regions.image_size
                yield Failure(
                    item.id, f"the detector proposed no region in its {width} x {height} pixels"
                )

    def _open(self, threads: int) -> RegionDetector:
        """The detector of this process, shared by its threads."""
        if self.device != "cpu":
            threads = 1  # a GPU does not use them
        key = self._key(threads)
        with _opening:
            if key not in _opened:
                _opened[key] = open_detector(
                    self.detector,
                    regions=self.regions,
                    device=self.device,
                    threads=threads,
                    half=self.half,
                )
            return _opened[key]

    def _key(self, threads: int) -> tuple[Any, ...]:
        return (self.detector, self.regions, self.device, self.half, threads, str(self.weights))


def _start(detector: RegionDetector, loaded: Sequence[PreparedPicture | Failure]) -> _Started:
    return loaded, detector.start([one for one in loaded if isinstance(one, PreparedPicture)])


def _start_decoded(
    detector: RegionDetector, loading: Sequence[Future[PreparedPicture | Failure]]
) -> _Started:
    return _start(detector, [one.result() for one in loading])


@dataclass(frozen=True)
class Shortfall:
    """Images of which the detector found fewer regions than were asked for.

    Attributes:
        filled: images with enough regions, the weakest of which are below the threshold.
        short: images with too few regions, as the detector proposed no more.
    """

    filled: int
    short: int

    def message(self, min_regions: int, score_threshold: float) -> str:
        """A line for each of the two that occurs."""
        lines = ""
        if self.filled:
            lines += (
                f"{self.filled:,} images have fewer than {min_regions} regions of score "
                f"{score_threshold:g}; the next best regions were added.\n"
            )
        if self.short:
            lines += (
                f"{self.short:,} images have fewer than {min_regions} regions, because the "
                "detector proposed no more.\n"
            )
        return lines


def count_shortfall(shards: Path, min_regions: int, score_threshold: float) -> Shortfall:
    """Look for images with fewer good regions than asked for in a folder of shards."""
    reader = ShardReader(shards, "regions")
    # shards hold half-precision scores, so that one at the threshold may read a little less
    floor = score_threshold - 1e-3
    filled = short = 0
    for record in reader:
        assert isinstance(record, ImageRegions)
        assert record.scores is not None
        if len(record.scores) < min_regions:
            short += 1
        elif float(record.scores.min()) < floor:
            filled += 1
    return Shortfall(filled, short)
