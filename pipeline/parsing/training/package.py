"""Package a trained pipeline as the embedded model: name, version and accuracies, no local paths.

    python -m pipeline.parsing.training.package PIPELINE TREEBANK_TEST pipeline/parsing/model

TREEBANK_TEST is the `test.spacy` that `treebank` wrote; the accuracies go into `meta.json`.
"""

import argparse
from pathlib import Path

from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Example

from pipeline.parsing.parser import load_parser

NAME, VERSION = "captions", "1.1.0"
MEASURES = ("tag_acc", "pos_acc", "morph_acc", "lemma_acc", "dep_uas", "dep_las")
SOURCES = (
    {
        "name": "UD English EWT",
        "url": "https://universaldependencies.org/treebanks/en_ewt",
        "author": "Silveira et al. 2014",
        "license": "CC BY-SA 4.0",
    },
    {
        "name": "FACTUAL",
        "url": "https://github.com/zhuang-li/FactualSceneGraph",
        "author": "Li et al. 2023",
        "license": "MIT",
    },
    {
        "name": "captions of Flickr8k and Flickr30K, train parts, as text without labels",
        "url": "https://shannon.cs.illinois.edu/DenotationGraph",
        "author": "Hodosh et al. 2013; Young et al. 2014",
        "license": "research, as the data sets' terms say",
    },
    {
        "name": "all-MiniLM-L6-v2, fine-tuned as the teacher",
        "url": "https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2",
        "author": "Wang et al. 2020; Reimers and Gurevych 2019",
        "license": "Apache-2.0",
    },
)


def accuracies(nlp: Language, treebank_test: Path) -> dict[str, float]:
    """Accuracies on a treebank's sentences with gold tokens, from 0 to 1."""
    gold = list(DocBin().from_disk(treebank_test).get_docs(nlp.vocab))
    blank = [Doc(nlp.vocab, [token.text for token in doc]) for doc in gold]
    examples = [Example(p, g) for p, g in zip(nlp.pipe(blank), gold, strict=True)]
    scores = nlp.evaluate(examples)
    return {name: round(float(scores[name]), 4) for name in MEASURES}


def package(pipeline: Path, treebank_test: Path, out: Path) -> dict[str, float]:
    """Write the pipeline with its card's facts into `out`; returns its accuracies."""
    nlp = load_parser(str(pipeline))
    nlp.config["paths"] = dict.fromkeys(nlp.config["paths"])
    performance = accuracies(nlp, treebank_test)
    nlp.meta.update(
        name=NAME,
        version=VERSION,
        description="Tagger, parser, lemmatiser and scene graphs for English image captions",
        license="CC BY-SA 4.0",
        spacy_version=">=3.7.4,<4.0.0",
        sources=list(SOURCES),
        performance=performance,
    )
    nlp.to_disk(out)
    return performance


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    for name in ("pipeline", "treebank_test", "out"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args()
    for measure, value in package(options.pipeline, options.treebank_test, options.out).items():
        print(f"{measure}: {100 * value:.2f}")
