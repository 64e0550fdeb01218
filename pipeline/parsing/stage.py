"""The stage of `parse-captions`: parses captions into words, dependency arcs and triples.

spaCy is imported in the processes that parse: importing it takes longer than 1,000 captions do.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.manifests.manifest import CaptionItem
from pipeline.parsing.embedded import EMBEDDED, embedded_fingerprint, import_spacy_alone
from pipeline.shards.records import Failure, ParsedCaption
from pipeline.shards.schema import Kind


@dataclass(frozen=True)
class ParseCaptions:
    """Parses captions with one spaCy model, loaded once per process.

    Attributes:
        model: name of an installed package, `embedded`, or folder of a spaCy pipeline.
        owns_process: the processes that run the stage do nothing else, so that with the embedded
            model spaCy can be imported without PyTorch.
    """

    model: str
    owns_process: bool = False
    kind: Kind = field(default="captions", init=False)
    name: str = field(default="parse-captions", init=False)
    names: None = field(default=None, init=False)
    dtype: str = field(default="float16", init=False)

    @property
    def settings(self) -> Mapping[str, Any]:
        """None: the model is identified by the fingerprint, wherever it is stored."""
        return {}

    def fingerprint(self) -> Mapping[str, Any]:
        """Name and digest of the model, and its components."""
        if self.model == EMBEDDED:
            return embedded_fingerprint()
        from pipeline.parsing.parser import cached_parser, model_fingerprint

        return model_fingerprint(cached_parser(self.model))

    def process(
        self, items: Sequence[CaptionItem], threads: int
    ) -> Iterator[ParsedCaption | Failure]:
        """Parse captions in batches; one that cannot be parsed gives a Failure with the reason."""
        if self.owns_process and self.model == EMBEDDED:
            import_spacy_alone()
        from pipeline.parsing.captions import parse_captions

        yield from parse_captions(self.model, items, threads)
