import numpy as np
import pytest
import torch

from pipeline.parsing.scene_graph.features import Phrases, Vocabulary, arc_codes, letter_rows
from pipeline.parsing.scene_graph.network import Captions, SceneGraphNetwork
from pipeline.parsing.training.scene_graph_net import Batch, NetSettings, SceneGraphNet

WORDS = [["a", "man", "riding", "zzz"], ["horse"], ["a", "horse", "with", "mane", "x"]]
TAILS = ["", "on", "with"]


@pytest.fixture(params=[1, 2], ids=["one layer", "two layers"])
def both(request):
    """A PyTorch network and its NumPy like."""
    torch.manual_seed(0)
    vocabulary = Vocabulary(["a", "man", "horse", "riding"])
    settings = NetSettings(
        words=len(vocabulary), heads=7, tails=3, pos=4, deprels=5, layers=request.param, width=32
    )
    net = SceneGraphNet(settings).eval()
    torch.nn.init.normal_(net.tail_of_head.weight)
    weights = {name: value.numpy() for name, value in net.state_dict().items()}
    return net, SceneGraphNetwork(weights, vocabulary)


def captions_and_batch(net, network):
    lengths = [len(words) for words in WORDS]
    pos, deprels = (
        np.array([1, 2, 3, 1, 2, 0, 1, 3, 2, 1]),
        np.array([0, 1, 2, 3, 4, 0, 1, 2, 3, 4]),
    )
    heads = np.array([1, 1, 1, 2, 4, 6, 6, 6, 7, 8])
    captions = Captions(WORDS, pos, deprels, heads)
    ends = np.array([[1, 1], [3, 3], [5, 6], [8, 9]])
    pairs = np.array([[0, 0], [0, 1], [1, 0], [2, 3], [3, 2]])

    def padded(flat):
        out = torch.zeros(3, 5, dtype=torch.long)
        for i, (start, end) in enumerate(zip(captions.offsets, captions.offsets[1:], strict=False)):
            out[i, : end - start] = torch.as_tensor(flat[start:end])
        return out

    words = [w for caption in WORDS for w in caption]
    letters = torch.zeros(3, 5, 30, dtype=torch.long)
    phrases = torch.zeros(3, 5, len(TAILS), dtype=torch.bool)
    for i, caption in enumerate(WORDS):
        for j, word in enumerate(caption):
            rows = letter_rows(word, net.settings.buckets)
            letters[i, j, : len(rows)] = torch.tensor(rows)
        for token, tail in Phrases(TAILS).places(caption):
            phrases[i, token, tail] = True
    batch = Batch(
        words=padded(np.array([network.vocabulary.row(w) for w in words])),
        letters=letters,
        lengths=torch.tensor(lengths),
        pos=padded(pos),
        deprels=padded(deprels),
        nodes=torch.tensor([[0, 1, 1], [0, 3, 3], [2, 0, 1], [2, 3, 4]]),
        pairs=torch.tensor(pairs),
        arcs=torch.as_tensor(arc_codes(ends[:, 0], ends[:, 1], pairs, heads, deprels, 5)),
        phrases=phrases,
    )
    return captions, ends, pairs, batch


def test_numpy_and_pytorch_agree(both):
    net, network = both
    captions, ends, pairs, batch = captions_and_batch(net, network)
    tokens_Td = network.encode(captions)
    vectors = network.pair_vectors(tokens_Td, captions, ends, pairs)
    with torch.no_grad():
        tokens_BLd = net.encode(batch)
        flat = torch.cat([t[:n] for t, n in zip(tokens_BLd, batch.lengths, strict=True)])
        tags = torch.cat([t[:n] for t, n in zip(net.tags(tokens_BLd), batch.lengths, strict=True)])
        pairs_Pd = net.pair_vectors(tokens_BLd, batch)
        in_third = torch.tensor([3, 4])
        mask = torch.ones(2, 5, dtype=torch.bool)
        heads = net.predicate_heads(pairs_Pd[in_third], tokens_BLd[[2, 2]], mask)
        tails = net.tails(pairs_Pd[in_third], in_third, torch.tensor([2, 99]), batch)
    close = {"atol": 1e-5, "rtol": 1e-5}
    np.testing.assert_allclose(tokens_Td, flat, **close)
    np.testing.assert_allclose(network.tag_scores(tokens_Td), tags, **close)
    np.testing.assert_allclose(vectors, pairs_Pd, **close)
    np.testing.assert_allclose(
        network.joined(vectors), net.joined(pairs_Pd).detach().sigmoid(), **close
    )
    copies = network.copy_scores(vectors[3:], tokens_Td, [(5, 10), (5, 10)])
    scores = np.concatenate([network.head_scores(vectors[3:]), np.stack(copies)], 1)
    scores -= np.log(np.exp(scores).sum(1, keepdims=True))
    np.testing.assert_allclose(scores, heads, **close)
    said = np.zeros((2, 2, 3), np.float32)
    said[:, :, 2] = 1  # `with` lies between the two nodes of the third caption
    np.testing.assert_allclose(network.tail_scores(vectors[3:], [2, 7], said), tails, **close)


def test_neighbours_in_a_batch_change_nothing(both):
    net, network = both
    captions, *_ = captions_and_batch(net, network)
    alone = Captions([WORDS[2]], captions.pos[5:], captions.deprels[5:], captions.heads[5:] - 5)
    np.testing.assert_allclose(network.encode(alone), network.encode(captions)[5:], atol=1e-6)


def test_words_are_kept_within_bounds(both, monkeypatch):
    net, network = both
    captions, *_ = captions_and_batch(net, network)
    before = network.encode(captions)
    monkeypatch.setattr("pipeline.parsing.scene_graph.network.MAX_KEPT_WORDS", 5)
    network.encode(Captions([["b", "c"]], *[np.zeros(2, int)] * 3))
    assert len(network._word_rows) <= 5
    np.testing.assert_allclose(network.encode(captions), before, atol=1e-6)
