"""A trained run in a few lines: encode pictures and captions, and compare them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.shards.records import Failure, ImageRegions, ParsedCaption
from resg.config import RunSettings
from resg.data.splits import SplitReaders
from resg.data.subwords import make_tokeniser
from resg.data.tables import CaptionTable, ImageTable
from resg.devices import choose_device
from resg.evaluation import scoring
from resg.evaluation.probes import swapped_text
from resg.explain.explanation import Explanation, explain_pair
from resg.live import CaptionReader, PictureReader, caption_reader, picture_reader
from resg.models.encoded import Encoded
from resg.run_folder import RunFolder, load_matcher, open_run, run_path


def load(
    run: str | Path,
    *,
    device: str = "auto",
    shards: str | Path | None = None,
    detector: str | None = None,
    parser: str = "embedded",
) -> "Run":
    """Load a trained run with its best weights.

    Args:
        run: the run folder that `resg train --out` made, or `"photos"`: the matcher for photographs
            that ships with the package.
        device: where the matcher runs: `cpu`, `cuda`, `cuda:1`, ...; `auto` takes the GPU if there
            is one.
        shards: folder of the run's shards, if not the one of training.
        detector: the detector that made the run's regions, as after `--detector` of
            extract-regions; None where it is one that comes with the package.
        parser: name or path of the spaCy model that parsed the run's captions.

    Raises:
        ResgError: there is no such run, it has no weights yet, or there is no such device.

    Example:
        >>> import resg
        >>> run = resg.load(folder, device="cpu")
        >>> images = run.encode_images(run.regions("test"))  # or paths of pictures
        >>> query = run.encode_captions(["a dog under a table"])
        >>> scores = run.similarity(images, query)
        >>> scores.shape
        (10, 1)
        >>> best = resg.rank(scores[:, 0], top=3)  # rows of the three best images, best first
        >>> bool(scores[best[0], 0] == scores.max())
        True
    """
    folder = open_run(run_path(run))
    where = None if shards is None else Path(shards)
    return Run(folder, choose_device(device), where, detector, parser)


class Run:
    """A trained run; make one with `resg.load`.

    Detector and parser are opened when they are first needed, and stay open.

    Args:
        folder: the run folder.
        device: where the matcher runs.
        shards: folder of its shards, if not the one of training.
        detector: the detector that made its regions; None for one that comes with the package.
        parser: name or path of the spaCy model that parsed its captions.
    """

    def __init__(
        self,
        folder: RunFolder,
        device: torch.device,
        shards: Path | None = None,
        detector: str | None = None,
        parser: str = "embedded",
    ) -> None:
        self.folder, self.device = folder, device
        self.shards, self.detector, self.parser = shards, detector, parser
        self.matcher = load_matcher(folder, device)

    def __repr__(self) -> str:
        return f"<Run {self.folder.folder} ({self.settings.preset}) on {self.device}>"

    @property
    def settings(self) -> RunSettings:
        """All settings that it was trained with."""
        return self.folder.settings

    @property
    def region_names(self) -> Mapping[str, Sequence[str]]:
        """Names of the detector's classes, `labels`, and of its `attributes` if it has any.

        Raises:
            ResgError: as `detect_regions`.
        """
        return self._pictures.names

    def regions(self, split: str) -> Sequence[ImageRegions]:
        """The images with regions of a split of its shards, read when they are needed.

        Raises:
            ResgError: the shards are missing, or another detector or parser made them.
            pipeline.errors.DataError: there is no such split.
        """
        return self._readers(split).images

    def captions(self, split: str) -> Sequence[ParsedCaption]:
        """The captions of a split of its shards whose image has regions.

        Raises:
            ResgError: no caption's image has regions, the shards are missing, or another detector
                or parser made them.
            pipeline.errors.DataError: there is no such split.
        """
        return self._readers(split).parsed_captions()

    def detect_regions(self, picture: str | Path, image_id: str | None = None) -> ImageRegions:
        """Find the regions of a picture, as those of the run's shards were found.

        Args:
            picture: file of any format that Pillow reads.
            image_id: the id of the regions; None for the name of the file.

        Raises:
            ResgError: the run's detector does not come with the package and is not named.
            pipeline.errors.DataError: the picture cannot be decoded, or has no region.
        """
        return self._pictures.regions(Path(picture), image_id)

    def parse_captions(self, texts: Sequence[str]) -> list[ParsedCaption]:
        """Parse texts as the run's captions were parsed.

        Raises:
            ResgError: the run's captions were parsed by another model.
            pipeline.errors.DataError: a text is empty, too long, or not in Latin letters.
        """
        return self._captions.captions(texts)

    def detect_all(
        self, pictures: Iterable[tuple[str, Path]], workers: int | None = None
    ) -> Iterator[ImageRegions | Failure]:
        """Find the regions of many pictures; one that cannot be read gives the reason, in order.

        Args:
            pictures: id and file of each.
            workers: pictures that are worked on at once; None for the cores of this process.
        """
        return self._pictures.outcomes(pictures, workers)

    def parse_all(self, captions: Iterable[tuple[str, str]]) -> Iterator[ParsedCaption | Failure]:
        """Parse many captions of an id and a text; a bad one gives the reason, in order."""
        return self._captions.outcomes(captions)

    @torch.inference_mode()
    def encode_images(self, images: Sequence[str | Path | ImageRegions]) -> Encoded:
        """Encode pictures, given by their files or by their regions.

        Args:
            images: paths of pictures, regions of `detect_regions` and `regions`, or regions of any
                shards of the same detector.

        Raises:
            ResgError: there are none, their features are not as wide as those of training, or as
                `detect_regions`.
            pipeline.errors.DataError: a picture cannot be decoded, or has no region.
        """
        table = ImageTable(self._regions_of(images), "map", self.device)
        return scoring.encode_images(self.matcher, table, self.device)

    @torch.inference_mode()
    def encode_captions(self, captions: Sequence[str | ParsedCaption]) -> Encoded:
        """Encode captions: texts, which are parsed as the run's captions were, or parsed ones.

        Raises:
            ResgError: there are none, or the run's captions were parsed by another model.
            pipeline.errors.DataError: a text is empty, too long, or not in Latin letters.
        """
        whole = self._parsed(captions)
        model = self.settings.model
        table = CaptionTable(
            whole,
            {caption.image_id: 0 for caption in whole},  # which image they belong to is not used
            self.folder.vocabulary,
            model.textual_graph.edges,
            make_tokeniser(model.text.encoder),
        )
        return scoring.encode_captions(self.matcher, table, self.device)

    @torch.inference_mode()
    def similarity(self, images: Encoded, captions: Encoded) -> NDArray[np.float32]:
        """`[I, C]` similarity of I images with C captions; higher is a better match."""
        return self.matcher.score(images, captions).cpu().numpy()

    def explain(
        self,
        image: str | Path | ImageRegions,
        caption: str | ParsedCaption,
        others: Sequence[str | ParsedCaption] | None = None,
        names: Mapping[str, Sequence[str]] | None = None,
    ) -> Explanation:
        """Explain why an image and a caption match: words, regions, edges, the nearest wrong one.

        `resg.explain.page.save_explanation` writes it as a page or a picture.

        Args:
            image: path of a picture, or regions.
            caption: a text, or a parsed caption.
            others: captions of other images, of which the one with the highest score is compared;
                None for the caption itself with subject and object of its first relation exchanged.
            names: names of the detector's classes; None for those of `region_names` where the
                image is a path, else for none.

        Raises:
            ResgError: a caption has no word or too many, or as `encode_images`.
            pipeline.errors.DataError: as `encode_images` and `encode_captions`.

        Example:
            >>> import resg
            >>> run = resg.load(folder, device="cpu")
            >>> image = run.regions("test")[0]  # or the path of a picture
            >>> caption = run.explain(image, "a dog under a table").caption
            >>> bool(abs(caption.global_part + caption.shares.sum() - caption.score) < 1e-5)
            True
        """
        if not isinstance(image, ImageRegions):
            names = self.region_names if names is None else names
        (regions,) = self._regions_of([image])
        (parsed,) = self._parsed([caption])
        if others is None:
            swapped = swapped_text(parsed)
            others = [swapped] if swapped else []
        vocabulary = self.folder.vocabulary
        return explain_pair(self.matcher, vocabulary, regions, parsed, self._parsed(others), names)

    def _parsed(self, captions: Sequence[str | ParsedCaption]) -> list[ParsedCaption]:
        """Captions, of which the texts are parsed together."""
        texts = [caption for caption in captions if isinstance(caption, str)]
        parsed = iter(self.parse_captions(texts) if texts else ())
        return [next(parsed) if isinstance(c, str) else c for c in captions]

    def _regions_of(self, images: Sequence[str | Path | ImageRegions]) -> Sequence[ImageRegions]:
        if all(isinstance(image, ImageRegions) for image in images):
            return cast(Sequence[ImageRegions], images)  # shards are read when they are needed
        return [i if isinstance(i, ImageRegions) else self.detect_regions(i) for i in images]

    @cached_property
    def _pictures(self) -> PictureReader:
        return picture_reader(self.folder, self.detector)

    @cached_property
    def _captions(self) -> CaptionReader:
        return caption_reader(self.folder, self.parser)

    def _readers(self, split: str) -> SplitReaders:
        readers = SplitReaders.open(self.folder.shards_in(self.shards), split)
        self.folder.check_fingerprints(readers.fingerprints())
        return readers
