"""FACTUAL's captions as examples for the scene-graph network.

    python -m pipeline.parsing.training.scene_graph_data FACTUAL TREEBANK MODEL OUT

FACTUAL holds `train.csv.gz` and `dev.csv.gz`, TREEBANK the treebank (verbs and their lemmas), MODEL
is the pipeline whose arcs the network sees. OUT gets `normal_forms.json`, `train.jsonl.gz` and
`dev.jsonl.gz`: one line per caption, with its tokens, its arcs and its graph.
"""

import argparse
import json
from collections import Counter, defaultdict
from pathlib import Path

import spacy
from spacy.tokens import Doc

from pipeline.parsing.scene_graph.alignment import AlignedGraph, align, learn_normal_forms
from pipeline.parsing.score import read_gold
from pipeline.parsing.training.examples import Example, write_examples
from pipeline.parsing.training.treebank import read_conllu


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
                json.dumps(normal_forms.that_are_said().to_json(), ensure_ascii=False)
            )
        counts[split] = write_examples(
            (
                example_of(
                    doc, align(doc, row.triples, normal_forms), [list(t) for t in row.triples]
                )
                for doc, row in zip(docs, rows, strict=True)
            ),
            out / f"{split}.jsonl.gz",
        )
    return counts


def example_of(doc: Doc, graph: AlignedGraph, triples: list[list[str]]) -> Example:
    """A parsed caption with its aligned gold."""
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
