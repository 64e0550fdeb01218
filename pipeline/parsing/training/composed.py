"""Compose captions with known graphs from the phrases of annotated ones.

    python -m pipeline.parsing.training.composed EXAMPLES MODEL OUT --count 40000

FACTUAL's captions are single phrases. These are sentences of several clauses, with fronted phrases,
coordination, numerals and negation, whose phrases and graphs are FACTUAL's: from `man sitting on a
bench` comes `On a bench, a man is sitting`. MODEL parses them, as it parses FACTUAL's.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import spacy
from spacy.tokens import Doc

from pipeline.parsing.training.composer import compose
from pipeline.parsing.training.examples import (
    Example,
    read_examples,
    read_normal_forms,
    write_examples,
)
from pipeline.parsing.training.pieces import (
    Sentence,
)


def as_example(sentence: Sentence, doc: Doc, name: Callable[[str, bool], str]) -> Example:
    """A sentence with the arcs of its Doc."""
    order = sorted(range(len(sentence.nodes)), key=lambda i: sentence.nodes[i])
    place = {node: rank for rank, node in enumerate(order)}
    nodes = [sentence.nodes[i] for i in order]
    names = [name(" ".join(sentence.words[a:b]), kind) for a, b, kind in nodes]
    relations = sorted({(place[s], p, place[o]) for s, p, o in sentence.relations})
    attributes = sorted({(place[s], place[a]) for s, a in sentence.attributes})
    triples = [[names[s], p, names[o]] for s, p, o in relations]
    triples += [[names[s], "is", names[a]] for s, a in attributes]
    return Example(
        words=[token.text for token in doc],
        spaces=[bool(token.whitespace_) for token in doc],
        pos=[token.pos_ for token in doc],
        heads=[token.head.i for token in doc],
        deprels=[token.dep_ for token in doc],
        nodes=nodes,
        relations=relations,
        attributes=attributes,
        triples=triples or [[n] for n, node in zip(names, nodes, strict=True) if not node[2]],
        is_complete=True,
    )


def main() -> None:
    """Read the command line, compose, parse and write."""
    import pipeline.parsing.inference  # noqa: F401  registers the parser

    options = _options()
    examples = read_examples(options.examples / "train.jsonl.gz")
    forms = read_normal_forms(options.examples)
    sentences = compose(examples, forms.lemma, options.count, options.seed)
    nlp = spacy.load(options.model, exclude=["scene_graph", "trainable_lemmatizer"])
    docs = nlp.pipe(Doc(nlp.vocab, words=sentence.words) for sentence in sentences)

    def name(text: str, is_attribute: bool) -> str:
        return forms.attribute_name(text) if is_attribute else forms.object_name(text)

    composed = [as_example(s, doc, name) for s, doc in zip(sentences, docs, strict=True)]
    print(write_examples(composed, options.out), "captions")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    for name in ("examples", "model", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--count", type=int, default=40_000)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
