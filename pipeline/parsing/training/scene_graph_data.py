"""FACTUAL's captions as examples for the scene-graph network.

    python -m pipeline.parsing.training.scene_graph_data FACTUAL TREEBANK MODEL OUT

FACTUAL holds `train.csv.gz` and `dev.csv.gz`, TREEBANK the treebank (verbs and their lemmas), MODEL
is the pipeline whose arcs the network sees. OUT gets `normal_forms.json`, `train.jsonl.gz` and
`dev.jsonl.gz`: one line per caption, with its tokens, its arcs and its graph.
"""

import argparse
import gzip
import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import spacy
from spacy.tokens import Doc

from pipeline.parsing.scene_graph.alignment import AlignedGraph, align, learn_normal_forms
from pipeline.parsing.score import read_gold
from pipeline.parsing.training.treebank import read_conllu


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


def write_examples(examples: Iterable[Example], path: Path) -> int:
    """Write examples, one per line; returns their number."""
    lines = [json.dumps(asdict(example), ensure_ascii=False) + "\n" for example in examples]
    with gzip.open(path, "wt", encoding="utf-8") as stream:
        stream.writelines(lines)
    return len(lines)


def treebank_verbs(treebank: Path) -> list[tuple[str, str]]:
    """Each verb form of the treebank's training part with its most frequent lemma."""
    plain, packed = treebank / "train.conllu", treebank / "train.conllu.gz"
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for sentence in read_conllu(plain if plain.exists() else packed):
        for word, lemma, upos in zip(sentence.words, sentence.lemmas, sentence.upos, strict=True):
            if upos == "VERB":
                counts[word.lower()][lemma.lower()] += 1
    return [(word, lemmas.most_common(1)[0][0]) for word, lemmas in counts.items()]


def prepare(factual: Path, treebank: Path, model: Path, out: Path) -> dict[str, int]:
    """Parse and align both parts of FACTUAL; returns the number of captions in each."""
    import pipeline.parsing.inference  # noqa: F401  registers the parser

    nlp = spacy.load(model, exclude=["scene_graph", "trainable_lemmatizer"])
    out.mkdir(parents=True, exist_ok=True)
    normal_forms, counts = None, {}
    for split in ("train", "dev"):
        rows = list(read_gold(factual / f"{split}.csv.gz"))
        docs = list(nlp.pipe([row.caption for row in rows], batch_size=256))
        if normal_forms is None:
            normal_forms = learn_normal_forms(
                docs, [row.triples for row in rows], treebank_verbs(treebank)
            )
            (out / "normal_forms.json").write_text(
                json.dumps(normal_forms.to_json(), ensure_ascii=False)
            )
        counts[split] = write_examples(
            (
                _example(doc, align(doc, row.triples, normal_forms), [list(t) for t in row.triples])
                for doc, row in zip(docs, rows, strict=True)
            ),
            out / f"{split}.jsonl.gz",
        )
    return counts


def _example(doc: Doc, graph: AlignedGraph, triples: list[list[str]]) -> Example:
    return Example(
        words=[token.text for token in doc],
        spaces=[bool(token.whitespace_) for token in doc],
        pos=[token.pos_ for token in doc],
        heads=[token.head.i for token in doc],
        deprels=[token.dep_ for token in doc],
        nodes=[(node.start, node.end, node.is_attribute) for node in graph.nodes],
        relations=list(graph.relations),
        attributes=list(graph.attributes),
        triples=triples,
        is_complete=graph.is_complete,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    for name in ("factual", "treebank", "model", "out"):
        parser.add_argument(name, type=Path)
    arguments = parser.parse_args()
    for split, count in prepare(
        arguments.factual, arguments.treebank, arguments.model, arguments.out
    ).items():
        print(f"{split}: {count} captions")
