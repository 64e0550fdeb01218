"""Parse captions and find regions as for a run; only this module needs parser and detector."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.fingerprint import differences
from pipeline.shards.records import Failure, ImageRegions, ParsedCaption
from resg.errors import ResgError
from resg.run_folder import RunFolder

SHOWN = 60
"""Characters of a text that an error shows."""

if TYPE_CHECKING:
    from pipeline.detectors.base import RegionDetector
    from pipeline.manifests.picture_folder import PictureFolder


@dataclass(frozen=True)
class CaptionReader:
    """The parser that made a run's caption shards, for single texts.

    Attributes:
        model: name or path of the spaCy model; it stays loaded.
    """

    model: str

    def captions(self, texts: Sequence[str]) -> list[ParsedCaption]:
        """Texts, parsed.

        Raises:
            pipeline.errors.DataError: one is empty, too long, or not in Latin letters.
        """
        parsed = []
        outcomes = self.outcomes(("typed", text) for text in texts)
        for text, outcome in zip(texts, outcomes, strict=True):
            if isinstance(outcome, Failure):
                shown = text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
                raise DataError(
                    f"{outcome.reason}, got {shown!r}. "
                    "Write an English caption, such as 'a man riding a horse'."
                )
            parsed.append(outcome)
        return parsed

    def outcomes(self, captions: Iterable[tuple[str, str]]) -> Iterator[ParsedCaption | Failure]:
        """Each caption of an id and a text, parsed, or the reason why it cannot be, in order."""
        from dask.system import CPU_COUNT

        from pipeline.manifests.manifest import CaptionItem
        from pipeline.parsing.captions import parse_captions

        items = [CaptionItem(id_, id_, text, "typed") for id_, text in captions]
        return parse_captions(self.model, items, threads=CPU_COUNT)


def caption_reader(run: RunFolder, model: str = "embedded") -> CaptionReader:
    """The parser that made a run's caption shards.

    Args:
        run: whose captions.
        model: name or path of the spaCy model, as parse-captions takes it.

    Raises:
        ResgError: it is not the model that parsed the run's captions.
    """
    from pipeline.parsing.parser import cached_parser, model_fingerprint

    differing = differences(
        model_fingerprint(cached_parser(model)), run.data["fingerprints"]["captions"]
    )
    if differing:
        raise ResgError(
            f"the captions of {run.folder} were parsed by another model: {differing[0]}.\n"
            "Give that model by --model NAME_OR_PATH (parser=... of resg.load), or parse the "
            "captions again and train a new run."
        )
    return CaptionReader(model)


def caption_file(path: Path) -> list[tuple[str, str, str]]:
    """Id, image id and text of the captions of a file, of any format that parse-captions reads.

    Raises:
        pipeline.errors.DataError: there is no such file, it is empty, or its format is not known.
    """
    from pipeline.manifests.manifest import file_captions

    return [(item.caption_id, item.image_id, item.text) for item in file_captions(path)]


@dataclass(frozen=True)
class PictureReader:
    """The detector that made a run's region shards, for single pictures.

    Attributes:
        detector: with the run's selection of regions.
        dtype: float type that features are rounded to, as in the shards.
    """

    detector: "RegionDetector"
    dtype: str

    @property
    def names(self) -> Mapping[str, Sequence[str]]:
        """Class names, and attribute names where the detector has them, by dataset."""
        return self.detector.info.names

    def regions(self, picture: Path, image_id: str | None = None) -> ImageRegions:
        """The regions of one picture.

        Raises:
            pipeline.errors.DataError: it cannot be decoded, is too large, or has no region.
        """
        from pipeline.images import load_image

        (found,) = self.detector.detect([load_image(picture)])
        if not len(found.boxes):
            raise DataError(f"the detector proposed no region in the picture {picture.name}")
        record = found.record(image_id or picture.name, self.detector.info)
        return replace(record, features=record.features.astype(np.dtype(self.dtype)))

    def outcomes(
        self, pictures: Iterable[tuple[str, Path]], workers: int | None = None
    ) -> Iterator[ImageRegions | Failure]:
        """Regions of each picture, or the reason why there are none, in order.

        Args:
            pictures: id and file of each.
            workers: how many are worked on at once; None for the cores of this process.
        """
        from dask.system import CPU_COUNT  # knows of a container's limits

        workers = workers or CPU_COUNT
        waiting: deque[Future[ImageRegions | Failure]] = deque()
        with ThreadPoolExecutor(workers) as pool:
            for image_id, path in pictures:
                waiting.append(pool.submit(self._outcome, image_id, path))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _outcome(self, image_id: str, path: Path) -> ImageRegions | Failure:
        try:
            return self.regions(path, image_id)
        except DataError as error:
            return Failure(image_id, str(error))


def picture_reader(run: RunFolder, detector: str | None = None) -> PictureReader:
    """The detector that made a run's region shards.

    Args:
        run: whose regions.
        detector: as after `--detector` of extract-regions; None for the embedded one of that kind.

    Raises:
        ResgError: it is not the detector that made the run's regions, or none that comes with the
            package is.
        pipeline.errors.PipelineError: it cannot be opened.
    """
    from pipeline.detectors.specification import EMBEDDED, DetectorSpec, open_detector

    expected = run.data["fingerprints"]["regions"]
    if detector is None:
        own = [name for name in EMBEDDED if DetectorSpec.parse(name).fingerprint() == expected]
        if not own:
            raise ResgError(
                f"the regions of {run.folder} were not made by a detector of this package: "
                f"{_described(run, expected)}.\n"
                "Give that detector by --detector SPEC (detector=... of resg.load), such as "
                "onnx:FILE."
            )
        detector = own[0]
    settings = run.region_settings
    regions = None
    if "min_regions" in settings and "max_regions" in settings:
        regions = f"{settings['min_regions']}:{settings['max_regions']}"
    opened = open_detector(detector, regions=regions)
    differing = differences(opened.fingerprint, expected)
    if differing:
        raise ResgError(
            f"the regions of {run.folder} were made by another detector than {detector}: "
            f"{differing[0]}.\n"
            "Give that detector by --detector SPEC (detector=... of resg.load), or extract the "
            "regions again and train a new run."
        )
    return PictureReader(opened, settings.get("dtype", "float16"))


def _described(run: RunFolder, fingerprint: Mapping[str, Any]) -> str:
    """A detector in a few words: its name where the run knows it, and its fingerprint."""
    parts = [f"{key} {str(value)[:12]}" for key, value in fingerprint.items()]
    name = run.region_settings.get("detector")
    return ", ".join([name, *parts] if name else parts)


def picture_folder(folder: Path) -> "PictureFolder":
    """The pictures of a folder and its subfolders; an id is the path relative to the folder.

    Raises:
        pipeline.errors.DataError: there is no such folder, or it has no picture.
    """
    from pipeline.manifests.picture_folder import read_picture_folder

    return read_picture_folder(folder)


def load_small_picture(path: Path, side: int) -> NDArray[np.uint8]:
    """Read a small upright copy of a picture as `[height, width, 3]` RGB, to be looked at.

    Args:
        path: of the picture.
        side: pixels of its longer side at most.

    Raises:
        pipeline.errors.DataError: it cannot be decoded, or is too large.
    """
    from pipeline.images import load_thumbnail

    return load_thumbnail(path, side)


def load_picture(path: Path) -> NDArray[np.uint8]:
    """Read a picture as `[height, width, 3]` RGB, as the detector sees it.

    Raises:
        pipeline.errors.DataError: it cannot be decoded, or is too large.
    """
    from pipeline.images import load_image

    return load_image(path)


def caption_lines(path: Path) -> list[str]:
    """Captions of a text file with one caption per line; empty lines are left out.

    Raises:
        pipeline.errors.DataError: it cannot be read as text.
    """
    from pipeline.text_files import lines_of, read_text

    return [line.strip() for line in lines_of(read_text(path)) if line.strip()]
