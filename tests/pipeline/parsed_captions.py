"""Captions with hand-made parses in both schemes of labels; tests import it by name."""

from dataclasses import dataclass
from pathlib import Path

import spacy
from spacy.tokens import Doc

VOCAB = spacy.blank("en").vocab


@dataclass(frozen=True)
class Example:
    topic: str
    parses: dict[str, str]
    triples: set[tuple[str, ...]]
    is_negated: bool


def read_examples():
    text = Path(__file__).with_name("parsed_captions.txt").read_text(encoding="utf-8")
    examples = []
    for block in text.strip().split("\n\n")[1:]:
        topic, clear, universal, triples = (line.partition(" ")[2] for line in block.splitlines())
        parts = [part.strip() for part in triples.split(" ; ")]
        examples.append(
            Example(
                topic=topic,
                parses={"clear": clear.strip(), "universal": universal.strip()},
                triples={tuple(part.split(" , ")) for part in parts if part != "NEGATED"},
                is_negated="NEGATED" in parts,
            )
        )
    return examples


def make_doc(parse, vocab=VOCAB):
    tokens = [token.split("/") for token in parse.split()]
    return Doc(
        vocab,
        words=[token[0] for token in tokens],
        pos=[token[1] for token in tokens],
        deps=[token[2] for token in tokens],
        heads=[int(token[3]) for token in tokens],
        lemmas=[token[4] if len(token) > 4 else token[0].lower() for token in tokens],
    )
