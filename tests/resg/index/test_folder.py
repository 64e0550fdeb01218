"""The folder of an index: what is refused, and that one process writes at a time."""

import json

import numpy as np
import pytest
import torch

from resg.errors import ResgError
from resg.index.folder import IndexFolder, IndexState, writing
from resg.index.segments import ImageEntry, Piece, write_encoded, write_pieces
from resg.models.encoded import Encoded

EMPTY = IndexState({"run": "r", "preset": "p", "weights": "w"}, {"regions": {}}, 4)


def entries(*ids):
    return [ImageEntry(id_, f"digest of {id_}", 10, 20) for id_ in ids]


def encoded(counts, seed=0):
    random = torch.Generator().manual_seed(seed)
    nodes = torch.randn(sum(counts), 4, generator=random)
    embeddings = torch.randn(len(counts), 4, generator=random)
    ptr = torch.tensor([0, *np.cumsum(counts)])
    return Encoded(
        torch.nn.functional.normalize(embeddings, dim=-1),
        torch.nn.functional.normalize(nodes, dim=-1),
        ptr,
    )


@pytest.fixture
def folder(tmp_path):
    """An index of three images in one segment."""
    index = IndexFolder(tmp_path / "index", EMPTY)
    index.path.mkdir()
    index, path = index.new_path("images")
    segment = write_encoded(path, "images", entries("a", "b", "c"), encoded([2, 1, 3]))
    index = index.with_segments("images", [segment])
    index.commit()
    return index


def test_an_index_reads_back_as_it_was_written(folder):
    again = IndexFolder.read(folder.path)
    assert again.state == folder.state
    (segment,) = again.segments("images")
    assert segment.entries == entries("a", "b", "c")
    whole = encoded([2, 1, 3])
    for row in range(3):
        found, expected = segment.encoded([row]), whole.rows(row, row + 1)
        torch.testing.assert_close(found.embeddings, expected.embeddings, atol=1e-3, rtol=0)
        torch.testing.assert_close(found.nodes, expected.nodes, atol=1e-3, rtol=0)
        assert found.ptr.tolist() == expected.ptr.tolist()


def test_kept_rows_keep_their_bits(folder, tmp_path):
    (segment,) = folder.segments("images")
    other = write_encoded(tmp_path / "other", "images", entries("d"), encoded([2], seed=1))
    pieces = [
        Piece(segment, [0, 2], entries("a", "c")),
        Piece(other, [0], entries("renamed")),
    ]
    merged = write_pieces(tmp_path / "merged", pieces)
    assert [entry.id for entry in merged.entries] == ["a", "c", "renamed"]
    for row, (source, old) in enumerate([(segment, 0), (segment, 2), (other, 0)]):
        found, expected = merged.encoded([row]), source.encoded([old])
        assert torch.equal(found.nodes, expected.nodes)
        assert torch.equal(found.embeddings, expected.embeddings)


def test_a_commit_deletes_what_it_does_not_name(folder):
    (folder.path / "images-00077").mkdir()
    (folder.path / "neighbours-00078").touch()
    (folder.path / "notes.txt").touch()  # not ours
    folder.commit()
    names = {path.name for path in folder.path.iterdir()}
    assert names == {"index.json", "images-00000", "notes.txt"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 99}, "version 99"),
        ({"format": "other"}, "not the description of an index"),
        ({"segments": {}}, "not the description of an index"),
        ({"surprise": 1}, "not the description of an index"),
    ],
)
def test_a_foreign_description_is_refused(folder, change, message):
    path = folder.path / "index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ResgError, match=message):
        IndexFolder.read(folder.path)


def test_a_missing_or_damaged_file_is_named(folder, tmp_path):
    with pytest.raises(ResgError, match="resg index PICTURES"):
        IndexFolder.read(tmp_path / "nothing")
    (segment,) = folder.segments("images")
    (segment.path / "nodes.npy").write_bytes(b"short")
    with pytest.raises(ResgError, match=r"nodes\.npy is missing or damaged"):
        segment.encoded([0])
    (segment.path / "items.json").write_text("[]")
    with pytest.raises(ResgError, match="0 items, expected 3"):
        _ = folder.segments("images")[0].entries
    (folder.path / "index.json").write_text("{")
    with pytest.raises(ResgError, match="not the description of an index"):
        IndexFolder.read(folder.path)


def test_one_process_writes_at_a_time(folder):
    with writing(folder.path):
        with pytest.raises(ResgError, match="another process writes"), writing(folder.path):
            pass
        IndexFolder.read(folder.path)  # reading is free
    with writing(folder.path):
        pass


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(ResgError, match="holds something else"), writing(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
