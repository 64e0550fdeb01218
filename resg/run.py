"""A trained run in a few lines: encode images and captions, and compare them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.shards.records import ImageRegions, ParsedCaption
from resg.config import RunSettings
from resg.data.splits import SplitReaders
from resg.data.subwords import make_tokeniser
from resg.data.tables import CaptionTable, ImageTable
from resg.devices import choose_device
from resg.evaluation import scoring
from resg.live import caption_parser
from resg.models.encoded import Encoded
from resg.run_folder import RunFolder, load_matcher, open_run


def load(
    run: str | Path,
    *,
    device: str = "auto",
    shards: str | Path | None = None,
    parser: str = "embedded",
) -> "Run":
    """Load a trained run with its best weights.

    Args:
        run: the run folder that `resg train --out` made.
        device: `cpu`, `cuda`, `cuda:1`, ...; `auto` takes the GPU if there is one.
        shards: folder of the run's shards, if not the one of training.
        parser: name or path of the spaCy model that parsed the run's captions.

    Raises:
        ResgError: there is no such run, it has no weights yet, or there is no such device.

    Example:
        >>> import resg
        >>> run = resg.load(folder, device="cpu")
        >>> images = run.encode_images(run.regions("test"))
        >>> query = run.encode_captions(["a dog under a table"])
        >>> scores = run.similarity(images, query)
        >>> scores.shape
        (10, 1)
        >>> best = resg.rank(scores[:, 0], top=3)  # rows of the three best images, best first
        >>> bool(scores[best[0], 0] == scores.max())
        True
    """
    folder = open_run(Path(run))
    return Run(folder, choose_device(device), None if shards is None else Path(shards), parser)


class Run:
    """A trained run; make one with `resg.load`.

    Args:
        folder: the run folder.
        device: where the matcher runs.
        shards: folder of its shards, if not the one of training.
        parser: name or path of the spaCy model that parsed its captions.
    """

    def __init__(
        self,
        folder: RunFolder,
        device: torch.device,
        shards: Path | None = None,
        parser: str = "embedded",
    ) -> None:
        self.folder, self.device = folder, device
        self.shards, self.parser = shards, parser
        self.matcher = load_matcher(folder, device)

    def __repr__(self) -> str:
        return f"<Run {self.folder.folder} ({self.settings.preset}) on {self.device}>"

    @property
    def settings(self) -> RunSettings:
        """All settings that it was trained with."""
        return self.folder.settings

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

    @torch.inference_mode()
    def encode_images(self, images: Sequence[ImageRegions]) -> Encoded:
        """Encode images, given by their regions.

        Args:
            images: from `regions`, or from any shards of the same detector.

        Raises:
            ResgError: there are none, or their features are not as wide as those of training.
        """
        table = ImageTable(images, "map", self.device)
        return scoring.encode_images(self.matcher, table, self.device)

    @torch.inference_mode()
    def encode_captions(self, captions: Sequence[str | ParsedCaption]) -> Encoded:
        """Encode captions: texts, which are parsed as the run's captions were, or parsed ones.

        Raises:
            ResgError: there are none, or the run's captions were parsed by another model.
        """
        texts = [caption for caption in captions if isinstance(caption, str)]
        parsed = iter(caption_parser(self.folder, self.parser)(texts) if texts else ())
        whole = [next(parsed) if isinstance(c, str) else c for c in captions]
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

    def _readers(self, split: str) -> SplitReaders:
        readers = SplitReaders.open(self.folder.shards_in(self.shards), split)
        self.folder.check_fingerprints(readers.fingerprints())
        return readers
