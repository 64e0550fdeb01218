"""Captions with their gold graphs over tokens, as the scene-graph network learns from; no spaCy."""

import gzip
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.parsing.scene_graph.normal_forms import NormalForms


@dataclass(frozen=True)
class Example:
    """One caption with its gold graph.

    Attributes:
        words: its tokens, as written.
        spaces: whether a space follows each.
        pos: their universal parts of speech, as the model says.
        heads: index of each token's head, its own for a root.
        deprels: label of the arc from the head.
        nodes: start, end and whether it is an attribute, of each node.
        relations: subject node, predicate, object node.
        attributes: subject node, attribute node.
        triples: gold as strings.
        is_complete: whether the graph says all that gold says.
    """

    words: list[str]
    spaces: list[bool]
    pos: list[str]
    heads: list[int]
    deprels: list[str]
    nodes: list[tuple[int, int, bool]]
    relations: list[tuple[int, str, int]]
    attributes: list[tuple[int, int]]
    triples: list[list[str]]
    is_complete: bool

    def text(self, start: int, end: int) -> str:
        """Tokens `start` up to `end` with the spaces between them."""
        parts = (
            w + " " * s for w, s in zip(self.words[start:end], self.spaces[start:end], strict=True)
        )
        return "".join(parts).strip()


def read_examples(path: Path) -> list[Example]:
    """The examples of a `.jsonl.gz` file."""
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        return [Example(**json.loads(line)) for line in stream]


def read_normal_forms(examples: Path) -> NormalForms:
    """The normal forms that belong to a folder of examples."""
    return NormalForms.from_json(json.loads((examples / "normal_forms.json").read_text()))


def write_examples(examples: Iterable[Example], path: Path) -> int:
    """Write examples, one per line; returns their number."""
    lines = [json.dumps(asdict(example), ensure_ascii=False) + "\n" for example in examples]
    with gzip.open(path, "wt", encoding="utf-8") as stream:
        stream.writelines(lines)
    return len(lines)
