"""Write what `distil` needs: examples, captions without gold, closed sets, the encoder.

    python -m pipeline.parsing.training.distil_data EXAMPLES COMPOSED CAPTIONS MODEL ENCODER OUT

EXAMPLES is what `scene_graph_data` wrote, COMPOSED what `composed` wrote, CAPTIONS a folder of
`*_train.tsv.gz`, MODEL the pipeline that parses them and ENCODER a folder of Hugging Face's BERT.
"""

import argparse
import gzip
import json
import random
import re
import shutil
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import spacy
from safetensors.torch import load_file, save_file
from spacy.tokens import Doc

from pipeline.manifests.caption_text import clean_text, fault_of
from pipeline.parsing.scene_graph.alignment import align
from pipeline.parsing.scene_graph.normal_forms import NormalForms
from pipeline.parsing.score import Strings
from pipeline.parsing.sentences import sentence_starts
from pipeline.parsing.training.examples import (
    Example,
    read_examples,
    read_normal_forms,
    write_examples,
)
from pipeline.parsing.training.pretrained_net import encoder_weights
from pipeline.parsing.training.scene_graph_batches import ClosedSets
from pipeline.parsing.training.scene_graph_data import example_of
from pipeline.parsing.training.word_pieces import WordPieces

MIN_COUNT = 8
"""A word of the captions without gold that is rarer has no row of its own."""

POSITIONS = 128

WRITTEN = Path(__file__).with_name("written_captions.txt")


def read_captions(folder: Path, count: int, seed: int) -> list[str]:
    """So many distinct captions, drawn from all files."""
    texts = set()
    for path in sorted(folder.glob("*_train.tsv.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            texts |= {clean_text(line.rstrip("\n").partition("\t")[2]) for line in stream}
    drawn = sorted(text for text in texts if fault_of(text) is None and len(text.split()) <= 30)
    random.Random(seed).shuffle(drawn)
    return drawn[:count]


def parsed(texts: list[str], model: Path) -> list[Example]:
    """Captions of one sentence with their arcs."""
    import pipeline.parsing.inference  # noqa: F401  registers the parser

    nlp = spacy.load(model, exclude=["scene_graph", "trainable_lemmatizer"])
    examples = []
    for doc in nlp.pipe(texts, batch_size=256):
        if len(sentence_starts(doc)) == 1 and len(doc) <= 40:
            examples.append(
                Example(
                    words=[token.lower_ for token in doc],
                    spaces=[bool(token.whitespace_) for token in doc],
                    pos=[token.pos_ for token in doc],
                    heads=[token.head.i for token in doc],
                    deprels=[token.dep_ for token in doc],
                    nodes=[], relations=[], attributes=[], triples=[], is_complete=False,
                )
            )  # fmt: skip
    return examples


def written_examples(model: Path, normal_forms: NormalForms) -> list[Example]:
    """The captions of `written_captions.txt` with their graphs, one per line.

    Raises:
        ValueError: a string of a graph is not found in its caption.
    """
    import pipeline.parsing.inference  # noqa: F401  registers the parser

    nlp = spacy.load(model, exclude=["scene_graph", "trainable_lemmatizer"])
    examples = []
    for line in WRITTEN.read_text(encoding="utf-8").splitlines():
        caption, _, graph = line.partition(" | ")
        doc = nlp(caption)
        triples = [tuple(item.split(", ")) for item in re.findall(r"\(([^)]*)\)", graph)]
        said = [_as_said(doc, triple, normal_forms) for triple in triples]
        aligned = align(doc, said, normal_forms)
        if not aligned.is_complete:
            raise ValueError(f"{caption} does not say all of {graph}")
        examples.append(example_of(doc, aligned, [list(triple) for triple in triples]))
    return examples


def _as_said(doc: Doc, triple: Strings, normal_forms: NormalForms) -> Strings:
    """The triple with its attribute as the caption has it: `laughs`, written `laughing`."""
    if len(triple) < 3 or triple[1] != "is" or triple[2] in doc.text.lower():
        return triple
    lemma = normal_forms.lemma(triple[2])
    words = [token.lower_ for token in doc if normal_forms.lemma(token.lower_) == lemma]
    return (*triple[:2], words[0]) if words else triple


def main() -> None:
    """Read the command line and write the folder."""
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    for name in ("train", "dev"):
        shutil.copy(options.examples / f"{name}.jsonl.gz", options.out)
    shutil.copy(options.examples / "normal_forms.json", options.out)
    shutil.copy(options.composed, options.out / "composed.jsonl.gz")
    unlabelled = parsed(read_captions(options.captions, options.count, 0), options.model)
    write_examples(unlabelled, options.out / "unlabelled.jsonl.gz")
    train = read_examples(options.out / "train.jsonl.gz")
    composed = read_examples(options.out / "composed.jsonl.gz")
    written = written_examples(options.model, read_normal_forms(options.out))
    write_examples(written, options.out / "written.jsonl.gz")
    closed = ClosedSets.of(train)
    words = Counter(word.lower() for e in [*unlabelled, *written] for word in e.words)
    more = [word for word, n in words.most_common() if n >= MIN_COUNT and word not in closed.words]
    closed = replace(closed, words=(*closed.words, *more))
    (options.out / "closed_sets.json").write_text(json.dumps(asdict(closed)))
    print(len(unlabelled), "captions without gold,", len(closed.words), "words")
    dev = read_examples(options.out / "dev.jsonl.gz")
    _write_encoder(options.encoder, options.out, [*train, *composed, *written, *unlabelled, *dev])


def _write_encoder(encoder: Path, out: Path, examples: list[Example]) -> None:
    """The encoder in half precision with the word pieces that the examples have."""
    tokenizer = json.loads((encoder / "tokenizer.json").read_text(encoding="utf-8"))
    rows: dict[str, int] = tokenizer["model"]["vocab"]
    pieces = WordPieces(rows)
    used = {row for e in examples for word in e.words for row in pieces.of(word.lower())}
    used |= {rows[name] for name in ("[PAD]", "[UNK]", "[CLS]", "[SEP]")}
    kept = sorted(used)  # the padding's row is 0
    place = {row: rank for rank, row in enumerate(kept)}
    kept_pieces = {piece: place[row] for piece, row in rows.items() if row in place}
    (out / "word_pieces.json").write_text(json.dumps(kept_pieces))
    weights = encoder_weights(load_file(encoder / "model.safetensors"), kept)
    weights["positions.weight"] = weights["positions.weight"][:POSITIONS]
    half = {name: weight.half().contiguous() for name, weight in weights.items()}
    save_file(half, out / "encoder.safetensors")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    for name in ("examples", "composed", "captions", "model", "encoder", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--count", type=int, default=80_000)
    return parser.parse_args()


if __name__ == "__main__":
    main()
