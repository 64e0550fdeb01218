"""The words and edge types that a run knows, from its training split only."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipeline.shards.records import ParsedCaption
from resg.errors import ResgError
from resg.graphs.textual import textual_edges

UNKNOWN = "<unknown>"
START, END, MASK = "<start>", "<end>", "<mask>"
NO_TYPE = "<none>"


@dataclass(frozen=True)
class Vocabulary:
    """Words and edge types, and the index of each.

    Attributes:
        words: lower-cased words; index 0 is every word that training did not have. Those of the
            model's own (`START`, `END`, `MASK`), where it has them, follow.
        edge_types: names of the textual edges' types; index 0 is padding and has no bias.
        predicates: the detector's predicates, for visual edges.
    """

    words: tuple[str, ...]
    edge_types: tuple[str, ...]
    predicates: tuple[str, ...] = ()

    @classmethod
    def build(
        cls,
        captions: Iterable[ParsedCaption],
        min_count: int = 1,
        predicates: Iterable[str] = (),
        own_words: Iterable[str] = (),
    ) -> "Vocabulary":
        """Words that occur at least `min_count` times and all edge types, by frequency.

        Args:
            captions: of the training split.
            min_count: times that a word must occur.
            predicates: the detector's.
            own_words: of `START`, `END` and `MASK` those that the model has.
        """
        words: Counter[str] = Counter()
        types: Counter[str] = Counter()
        for caption in captions:
            words.update(form.lower() for form in caption.forms)
            types.update(name for names in textual_edges(caption).values() for name in names)
        return cls(
            words=(
                UNKNOWN,
                *own_words,
                *(w for w, count in _by_frequency(words) if count >= min_count),
            ),
            edge_types=(NO_TYPE, *(name for name, _ in _by_frequency(types))),
            predicates=tuple(predicates),
        )

    @cached_property
    def word_index(self) -> dict[str, int]:
        """Word to index."""
        return {word: index for index, word in enumerate(self.words)}

    @cached_property
    def edge_type_index(self) -> dict[str, int]:
        """Edge type to index."""
        return {name: index for index, name in enumerate(self.edge_types)}

    @property
    def has_boundaries(self) -> bool:
        """Whether captions are read with `START` and `END` around them."""
        return START in self.word_index

    def write(self, path: Path) -> None:
        """Write as JSON."""
        content = {
            "words": self.words,
            "edge_types": self.edge_types,
            "predicates": self.predicates,
        }
        path.write_text(json.dumps(content, ensure_ascii=False, indent=0), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Vocabulary":
        """Read what `write` wrote.

        Raises:
            ResgError: the file is missing or is not a vocabulary.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls(**{name: tuple(content[name]) for name in cls.__dataclass_fields__})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ResgError(
                f"expected a run's vocabulary in {path}, got {type(error).__name__}: {error}. "
                "The run folder is incomplete: train again, or copy it again."
            ) from error


def _by_frequency(counts: Counter[str]) -> list[tuple[str, int]]:
    """Most frequent first; equal counts in alphabetical order, so that a run is reproducible."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
