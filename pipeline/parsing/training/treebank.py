"""A Universal Dependencies treebank as spaCy's training files.

    python -m pipeline.parsing.training.treebank TREEBANK OUT

TREEBANK holds `train.conllu`, `dev.conllu` and `test.conllu`, gzip or plain; OUT gets
`train.spacy`, `dev.spacy` and `test.spacy`. Captions are short, often lower case and without a
final stop, which a treebank's sentences are not: so each training sentence is written once more.
"""

import argparse
import gzip
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import spacy
from spacy.tokens import Doc, DocBin
from spacy.vocab import Vocab

SEED = 0


@dataclass(frozen=True)
class Sentence:
    """One sentence of a treebank; every field has one entry per word.

    Attributes:
        words: the syntactic words (`do` and `n't`, not `don't`).
        spaces: whether a space follows.
        lemmas: dictionary forms.
        upos: universal parts of speech.
        xpos: Penn tags.
        feats: universal features, `Number=Sing|Person=3`, or the empty string.
        heads: index of the head in the sentence; the root is its own head.
        deprels: label of the arc from the head.
    """

    words: tuple[str, ...]
    spaces: tuple[bool, ...]
    lemmas: tuple[str, ...]
    upos: tuple[str, ...]
    xpos: tuple[str, ...]
    feats: tuple[str, ...]
    heads: tuple[int, ...]
    deprels: tuple[str, ...]


def read_conllu(path: Path) -> Iterator[Sentence]:
    """Sentences of a CoNLL-U file, gzip or plain; empty nodes are left out."""
    open_text = gzip.open if path.suffix == ".gz" else open
    with open_text(path, "rt", encoding="utf-8") as stream:
        rows: list[list[str]] = []
        for line in stream:
            if line.strip() and not line.startswith("#"):
                rows.append(line.rstrip("\n").split("\t"))
            elif rows and not line.strip():
                yield _sentence(rows)
                rows = []
        if rows:
            yield _sentence(rows)


def _sentence(rows: list[list[str]]) -> Sentence:
    words = [row for row in rows if row[0].isdigit()]
    no_space = {row[0] for row in words if "SpaceAfter=No" in row[9]}
    for row in rows:  # `3-4 don't`: no space within, and the range knows what follows it
        if "-" in row[0]:
            first, last = map(int, row[0].split("-"))
            no_space.update(map(str, range(first, last)))
            if "SpaceAfter=No" in row[9]:
                no_space.add(str(last))
    return Sentence(
        words=tuple(row[1] for row in words),
        spaces=tuple(row[0] not in no_space for row in words),
        lemmas=tuple(row[2] for row in words),
        upos=tuple(row[3] for row in words),
        xpos=tuple(row[4] for row in words),
        feats=tuple("" if row[5] == "_" else row[5] for row in words),
        heads=tuple(i if row[6] == "0" else int(row[6]) - 1 for i, row in enumerate(words)),
        deprels=tuple("ROOT" if row[6] == "0" else row[7] for row in words),
    )


def without_final_stop(sentence: Sentence) -> Sentence:
    """The sentence without its last word, where that is a punctuation mark that heads nothing."""
    last = len(sentence.words) - 1
    is_leaf = last not in sentence.heads
    if last < 1 or sentence.upos[last] != "PUNCT" or not is_leaf:
        return sentence
    return Sentence(**{name: value[:last] for name, value in vars(sentence).items()})


def lower_cased(sentence: Sentence) -> Sentence:
    """The sentence's words in lower case, its annotation as it was."""
    return replace(sentence, words=tuple(word.lower() for word in sentence.words))


def upper_cased(sentence: Sentence) -> Sentence:
    """The sentence's words in upper case, its annotation as it was."""
    return replace(sentence, words=tuple(word.upper() for word in sentence.words))


def caption_shapes(sentence: Sentence, rng: random.Random) -> list[Sentence]:
    """The sentence as it is, and once more in a shape that captions have."""
    shape = rng.random()
    changed = without_final_stop(sentence) if rng.random() < 0.8 else sentence
    if shape < 0.75:
        changed = lower_cased(changed)
    elif shape < 0.80:
        changed = upper_cased(changed)
    return [sentence] if changed == sentence else [sentence, changed]


def as_doc(sentence: Sentence, vocab: Vocab) -> Doc:
    """The sentence as a spaCy document with all its annotation."""
    return Doc(
        vocab,
        words=list(sentence.words),
        spaces=list(sentence.spaces),
        lemmas=list(sentence.lemmas),
        pos=list(sentence.upos),
        tags=list(sentence.xpos),
        morphs=list(sentence.feats),
        heads=list(sentence.heads),
        deps=list(sentence.deprels),
        sent_starts=[i == 0 for i in range(len(sentence.words))],
    )


def write_docs(sentences: Iterable[Sentence], path: Path) -> int:
    """Write the sentences as one DocBin; returns their number."""
    vocab = spacy.blank("en").vocab
    docs = DocBin(docs=(as_doc(sentence, vocab) for sentence in sentences))
    docs.to_disk(path)
    return len(docs)


def convert(treebank: Path, out: Path) -> dict[str, int]:
    """Convert a treebank's three files; returns the number of documents in each."""
    out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(SEED)
    counts = {}
    for split in ("train", "dev", "test"):
        plain, packed = treebank / f"{split}.conllu", treebank / f"{split}.conllu.gz"
        sentences = read_conllu(plain if plain.exists() else packed)
        if split == "train":
            sentences = (shape for s in sentences for shape in caption_shapes(s, rng))
        counts[split] = write_docs(sentences, out / f"{split}.spacy")
    return counts


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("treebank", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    for split, count in convert(arguments.treebank, arguments.out).items():
        print(f"{split}: {count} sentences")
