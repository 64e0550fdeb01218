import numpy as np
import pytest
import torch

from resg.graphs.ragged import Layout, offsets
from resg.models.encoded import Encoded

COUNTS = (2, 0, 3, 1)


def make_encoded(counts=COUNTS, seed=0):
    random = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(len(counts), 4, generator=random)
    nodes = torch.randn(sum(counts), 4, generator=random)
    return Encoded(embeddings, nodes, offsets(torch.tensor(counts)))


def assert_equal(one, other):
    assert torch.equal(one.embeddings, other.embeddings)
    assert torch.equal(one.nodes, other.nodes)
    assert one.ptr.tolist() == other.ptr.tolist()


def test_rows_are_items_with_their_own_nodes():
    encoded = make_encoded()
    part = encoded.rows(1, 3)
    assert len(part) == 2
    assert torch.equal(part.embeddings, encoded.embeddings[1:3])
    assert torch.equal(part.nodes, encoded.nodes[2:5])
    assert part.ptr.tolist() == [0, 0, 3]


@pytest.mark.parametrize("cut", range(len(COUNTS) + 1))
def test_parts_put_together_again_are_the_whole(cut):
    encoded = make_encoded()
    assert_equal(Encoded.cat([encoded.rows(0, cut), encoded.rows(cut, len(COUNTS))]), encoded)


def test_gathered_items_are_those_of_all_processes_in_order():
    own, other = make_encoded(), make_encoded((1, 4), seed=1)
    asked = []

    def gather_rows(rows, counts):
        asked.append(counts)
        return torch.cat([rows, other.embeddings if len(rows) == len(own) else other.nodes])

    gathered = own.gather(gather_rows, (torch.tensor(COUNTS), torch.tensor((1, 4))))
    assert_equal(gathered, Encoded.cat([own, other]))
    assert asked == [[4, 2], [6, 5]]
    assert own.gather(gather_rows, (torch.tensor(COUNTS),)) is own


def test_items_without_padding_have_their_valid_nodes_alone():
    counts = np.array([2, 1])
    layout = Layout.padded(counts, 3, torch.device("cpu"))
    nodes = torch.arange(6.0)[:, None]
    padded = Encoded(torch.zeros(2, 1), nodes, torch.from_numpy(layout.host_ptr))
    plain = padded.without_padding(layout)
    assert plain.nodes[:, 0].tolist() == [0, 1, 3]
    assert plain.ptr.tolist() == [0, 2, 3]
