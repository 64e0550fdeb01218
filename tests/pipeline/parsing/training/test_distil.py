"""Teachers, labels and the network that learns from them, on a few captions."""

import argparse
import json
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import save_file

from pipeline.parsing.scene_graph.normal_forms import NormalForms
from pipeline.parsing.training.distil import Data, label, learn, teach, with_graph
from pipeline.parsing.training.examples import Example, read_examples, write_examples
from pipeline.parsing.training.pretrained_net import (
    Encoder,
    EncoderSettings,
    change_by_low_rank,
    encoder_weights,
)
from pipeline.parsing.training.scene_graph_batches import ClosedSets
from pipeline.parsing.training.word_pieces import WordPieces

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "man", "rid", "##ing", "horse", "a", "cafe", "'", "s"]


@pytest.fixture
def word_pieces():
    return WordPieces({piece: row for row, piece in enumerate(PIECES)})


def test_words_are_split_into_the_longest_pieces(word_pieces):
    assert word_pieces.of("Riding") == (5, 6)
    assert word_pieces.of("café") == (9,)
    assert word_pieces.of("'s") == (10, 11)
    assert word_pieces.of("zebra") == (1,)
    assert word_pieces.of_caption(["a", "riding", "man"]) == (
        [2, 8, 5, 6, 4, 3],
        [(1, 1), (2, 3), (4, 4)],
    )


def test_padding_changes_nothing():
    torch.manual_seed(0)
    encoder = Encoder(EncoderSettings(len(PIECES), 24, 4, 2, 48, 16)).eval()
    pieces = torch.tensor([[2, 4, 5, 3, 0, 0]])
    alone = encoder(pieces[:, :4], torch.tensor([4]))
    assert torch.allclose(encoder(pieces, torch.tensor([4]))[:, :4], alone, atol=1e-6)


def test_low_rank_change_begins_as_none_and_is_all_that_learns():
    encoder = Encoder(EncoderSettings(len(PIECES), 24, 4, 2, 48, 16)).eval()
    pieces, lengths = torch.tensor([[2, 4, 3]]), torch.tensor([3])
    before = encoder(pieces, lengths)
    change_by_low_rank(encoder, 2)
    assert torch.equal(encoder(pieces, lengths), before)
    learned = {name.rsplit(".", 1)[1] for name, p in encoder.named_parameters() if p.requires_grad}
    assert learned == {"up", "down"}


def test_weights_of_another_library_are_renamed():
    theirs = {
        "encoder.layer.0.attention.self.query.weight": torch.ones(2, 2),
        "encoder.layer.0.attention.output.LayerNorm.bias": torch.ones(2),
        "encoder.layer.0.output.dense.weight": torch.ones(2, 2),
        "embeddings.word_embeddings.weight": torch.arange(6.0).reshape(3, 2),
        "embeddings.token_type_embeddings.weight": torch.ones(2, 2),
        "embeddings.position_embeddings.weight": torch.ones(4, 2),
        "embeddings.LayerNorm.weight": torch.ones(2),
        "embeddings.LayerNorm.bias": torch.ones(2),
    }
    ours = encoder_weights(theirs, [0, 2])
    assert {name for name in ours if name.startswith("layers.")} == {
        "layers.0.query.weight", "layers.0.attention_norm.bias", "layers.0.outer.weight",
    }  # fmt: skip
    assert ours["pieces.weight"].tolist() == [[1.0, 2.0], [5.0, 6.0]]


@pytest.fixture
def data(tmp_path, word_pieces):
    """A folder as `distil_data` writes it, with an encoder of random weights."""
    folder = tmp_path / "data"
    folder.mkdir()
    caption = Example(
        words=["a", "man", "riding", "a", "horse"], spaces=[True] * 5, pos=["X"] * 5,
        heads=[1, 1, 1, 4, 2], deprels=["dep"] * 5, nodes=[(1, 2, False), (4, 5, False)],
        relations=[(0, "ride", 1)], attributes=[], triples=[["man", "ride", "horse"]],
        is_complete=True,
    )  # fmt: skip
    for name in ("train", "composed", "written", "unlabelled", "dev"):
        write_examples([caption] * 8, folder / f"{name}.jsonl.gz")
    forms = NormalForms(lemmas={"riding": "ride"})
    (folder / "normal_forms.json").write_text(json.dumps(forms.to_json()))
    (folder / "closed_sets.json").write_text(json.dumps(asdict(ClosedSets.of([caption] * 8))))
    (folder / "word_pieces.json").write_text(json.dumps(word_pieces.rows))
    torch.manual_seed(0)
    encoder = Encoder(EncoderSettings(len(PIECES), positions=16))
    save_file(encoder.state_dict(), folder / "encoder.safetensors")
    return folder


def options(data, out, **changes):
    defaults = {
        "data": data, "out": out, "device": "cpu", "seed": 0, "seconds": None, "epochs": 2,
        "batch_size": 8, "every": 1, "limit": None, "threads": 1, "processes": 1, "rank": 0,
        "width": 32, "pair_width": 32, "layers": 1, "dropout": 0.0, "learning_rate": 0.02,
        "begin_with": None,
    }  # fmt: skip
    return argparse.Namespace(**(defaults | changes))


def test_a_teacher_labels_what_the_network_learns(data, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    teach(options(data, out))
    teach(options(data, out, seed=1, rank=2))
    label(options(data, out))
    labelled = read_examples(out / "labelled.jsonl.gz")
    assert [e.words for e in labelled] == [e.words for e in Data(data).examples("unlabelled")]
    learn(options(data, out, epochs=60))
    assert "dev set match 100.0" in capsys.readouterr().out
    assert (out / "student-32-1-0-weights.safetensors").is_file()


def test_lone_nodes_are_left_out_unless_nothing_else_is_there(data):
    from pipeline.parsing.scene_graph.decode import Graph, Node, Relation

    (caption, *_) = Data(data).examples("dev")
    nodes = (Node(1, 2, False), Node(2, 3, False), Node(4, 5, False))
    graph = Graph(nodes, (Relation(0, 2, "ride", "", 2),), ())
    assert with_graph(caption, graph).nodes == [(1, 2, False), (4, 5, False)]
    assert with_graph(caption, graph).relations == [(0, "ride", 1)]
    assert len(with_graph(caption, Graph(nodes)).nodes) == 3
