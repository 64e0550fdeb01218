"""A network of few captions overfits them, and works in a pipeline."""

import pytest
import spacy
import torch

from pipeline.parsing.doc_triples import string_tuples
from pipeline.parsing.scene_graph.alignment import align
from pipeline.parsing.scene_graph.component import RULE
from pipeline.parsing.scene_graph.normal_forms import NormalForms
from pipeline.parsing.training.examples import Example, read_examples, write_examples
from pipeline.parsing.training.optimise import TrainSettings, train
from pipeline.parsing.training.scene_graph import as_model, score_examples
from pipeline.parsing.training.scene_graph_batches import ClosedSets, TrainingData
from pipeline.parsing.training.scene_graph_net import NetSettings, SceneGraphNet

GOLD = {
    "a man riding a brown horse": [("man", "ride", "horse"), ("horse", "is", "brown")],
    "two dogs on a bench": [("dogs", "on", "bench"), ("dogs", "is", "2")],
    "leg of the man": [("man", "have", "leg")],
    "stack of the pole": [("pole",)],
    "cat sitting on top of a car": [("cat", "sit on top of", "car")],
    "two cars parked next to each other": [("car", "park next to", "car"), ("cars", "is", "2")],
}
LEXICON = NormalForms(
    attributes={"two": "2"},
    suffixes={"ing": (3, ""), "ding": (3, "e"), "tting": (4, ""), "ed": (2, "")},
)


def example(caption, triples):
    nlp = spacy.blank("en")
    doc = nlp.make_doc(caption)
    graph = align(doc, triples, LEXICON)
    return Example(
        words=[t.text for t in doc],
        spaces=[bool(t.whitespace_) for t in doc],
        pos=["X"] * len(doc),
        heads=[0] * len(doc),
        deprels=["dep"] * len(doc),
        nodes=[(n.start, n.end, n.is_attribute) for n in graph.nodes],
        relations=list(graph.relations),
        attributes=list(graph.attributes),
        triples=[list(t) for t in triples],
        is_complete=graph.is_complete,
    )


@pytest.fixture(scope="module")
def examples():
    return [example(caption, triples) for caption, triples in GOLD.items()]


@pytest.fixture(scope="module")
def model(examples):
    torch.manual_seed(0)
    closed = ClosedSets.of(examples * 3)
    sizes = vars(closed.sizes()) | {"width": 32, "pair_width": 32, "dropout": 0.0}
    net = SceneGraphNet(NetSettings(**sizes))
    data = TrainingData(examples, closed, LEXICON, net.settings.buckets, torch.device("cpu"))
    settings = TrainSettings(epochs=60, batch_size=6, warmup=5, learning_rate=0.02, decay=0.5)
    losses = [loss for _, loss, _ in train(net, data, settings)]
    assert losses[-1] < 0.1 * losses[0]
    return as_model(net, closed, LEXICON)


def test_captions_are_learned_by_heart(model, examples):
    assert score_examples(model, examples).set_match == 100


def test_examples_are_read_as_written(examples, tmp_path):
    write_examples(examples, tmp_path / "train.jsonl.gz")
    again = read_examples(tmp_path / "train.jsonl.gz")
    assert [e.words for e in again] == [e.words for e in examples]
    assert [list(map(tuple, e.nodes)) for e in again] == [e.nodes for e in examples]
    assert again[0].text(4, 6) == "brown horse"


def test_trained_component_lives_in_a_pipeline(model, tmp_path):
    nlp = spacy.blank("en")
    nlp.add_pipe(RULE).model = model
    nlp.to_disk(tmp_path / "model")
    again = spacy.load(tmp_path / "model")
    from_bytes = spacy.blank("en")
    from_bytes.add_pipe(RULE)
    from_bytes.from_bytes(nlp.to_bytes())
    text = "stack of the pole"
    assert string_tuples(again(text)) == string_tuples(from_bytes(text)) == string_tuples(nlp(text))
