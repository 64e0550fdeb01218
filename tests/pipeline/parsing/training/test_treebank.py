import gzip
import random

import spacy
from spacy.tokens import DocBin

from pipeline.parsing.training.treebank import (
    as_doc,
    caption_shapes,
    convert,
    lower_cased,
    read_conllu,
    without_final_stop,
)

CONLLU = """\
# text = Dogs don't bark.
1	Dogs	dog	NOUN	NNS	Number=Plur	4	nsubj	_	_
2-3	don't	_	_	_	_	_	_	_	_
2	do	do	AUX	VBP	_	4	aux	_	_
3	n't	not	PART	RB	_	4	advmod	_	_
3.1	really	really	ADV	RB	_	_	_	4:advmod	_
4	bark	bark	VERB	VB	VerbForm=Inf	0	root	_	SpaceAfter=No
5	.	.	PUNCT	.	_	4	punct	_	_

# text = A cat
1	A	a	DET	DT	_	2	det	_	_
2	cat	cat	NOUN	NN	Number=Sing	0	root	_	_
"""


def sentences(tmp_path):
    path = tmp_path / "train.conllu"
    path.write_text(CONLLU, encoding="utf-8")
    return list(read_conllu(path))


def test_words_arcs_and_spaces_are_read(tmp_path):
    dogs, cat = sentences(tmp_path)
    assert dogs.words == ("Dogs", "do", "n't", "bark", ".")
    assert dogs.spaces == (True, False, True, False, True)
    assert dogs.heads == (3, 3, 3, 3, 3)
    assert dogs.deprels == ("nsubj", "aux", "advmod", "ROOT", "punct")
    assert cat.words == ("A", "cat")


def test_doc_carries_the_annotation(tmp_path):
    doc = as_doc(sentences(tmp_path)[0], spacy.blank("en").vocab)
    assert doc.text.strip() == "Dogs don't bark."
    assert [t.pos_ for t in doc] == ["NOUN", "AUX", "PART", "VERB", "PUNCT"]
    assert doc[0].head.text == "bark"
    assert doc[0].morph.get("Number") == ["Plur"]


def test_caption_shapes_change_words_and_nothing_else(tmp_path):
    dogs, cat = sentences(tmp_path)
    assert without_final_stop(dogs).words == ("Dogs", "do", "n't", "bark")
    assert without_final_stop(cat) == cat
    assert lower_cased(dogs).words[0] == "dogs"
    assert lower_cased(dogs).lemmas == dogs.lemmas
    shapes = caption_shapes(dogs, random.Random(0))
    assert shapes[0] == dogs
    assert 1 <= len(shapes) <= 2


def test_treebank_becomes_three_files(tmp_path):
    for split in ("train", "dev"):
        (tmp_path / f"{split}.conllu").write_text(CONLLU, encoding="utf-8")
    with gzip.open(tmp_path / "test.conllu.gz", "wt", encoding="utf-8") as stream:
        stream.write(CONLLU)
    counts = convert(tmp_path, tmp_path / "out")
    assert counts["dev"] == counts["test"] == 2
    assert counts["train"] > 2
    vocab = spacy.blank("en").vocab
    docs = list(DocBin().from_disk(tmp_path / "out/test.spacy").get_docs(vocab))
    assert [len(doc) for doc in docs] == [5, 2]
