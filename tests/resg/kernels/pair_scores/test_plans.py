"""Do captions and images lie where the kernels look for them?"""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resg.graphs import ragged
from resg.kernels.pair_scores.blocks import (
    equal_blocks,
    is_one_level_block,
    level_blocks,
    merged_blocks,
    tiles,
)
from resg.kernels.pair_scores.triton_backend.plans import caption_runs, image_runs, pack_runs

counts = st.lists(st.integers(0, 40), max_size=40)


def pointer(lengths):
    return ragged.offsets(torch.tensor(lengths))


def offsets(lengths):
    return pointer(lengths).numpy()


@given(lengths=counts, width=st.sampled_from([16, 32, 64]), slots=st.integers(1, 16))
def test_runs_hold_every_caption_once_and_whole(lengths, width, slots):
    runs = pack_runs(offsets(lengths), width, slots)
    place = dict(zip(runs.destination.tolist(), runs.source.tolist(), strict=True))
    assert len(place) == len(runs.source)
    seen = []
    for run in range(len(runs)):
        for slot, caption in enumerate(runs.owner[run].tolist()):
            at = (runs.slot[run] == slot).nonzero()[0]
            if caption < 0:
                assert len(at) == 0
                continue
            seen.append(caption)
            first = pointer(lengths)[caption]
            words = [place[run * width + position] for position in at.tolist()]
            assert words == list(range(first, first + lengths[caption]))
    assert sorted(seen + runs.left_out.tolist()) == [
        caption for caption, length in enumerate(lengths) if length > 0
    ]
    assert runs.left_out.tolist() == [i for i, length in enumerate(lengths) if length > width]


def test_runs_of_ordinary_captions_are_full():
    lengths = (12 + 2.5 * torch.randn(5000, generator=torch.Generator().manual_seed(0))).round()
    lengths = lengths.clamp(5, 30).long().tolist()
    runs = pack_runs(offsets(lengths), 64, 16)
    assert sum(lengths) / (len(runs) * 64) > 0.97


@given(region_counts=st.lists(st.integers(0, 140), max_size=12), side=st.integers(1, 300))
def test_blocks_hold_every_region_once(region_counts, side):
    ptr = offsets(region_counts)
    images = []
    for block in level_blocks(ptr, side, 128):
        assert block.rows - block.counts.min() < 8
        assert len(block) == 1 or block.rows * len(block) <= side + block.rows
        for image, count, source in zip(block.owners, block.counts, block.source, strict=True):
            images.append(int(image))
            assert source[:count].tolist() == list(range(ptr[image], ptr[image + 1]))
            assert (source[count:] == -1).all()
    assert sorted(images) == [i for i, count in enumerate(region_counts) if 0 < count <= 128]
    if max(region_counts, default=0) <= 128:
        assert is_one_level_block(ptr, side) == (len(level_blocks(ptr, side, 128)) < 2)


@given(lengths=counts, slots=st.integers(1, 16))
def test_rows_of_runs_are_whole_owners(lengths, slots):
    ptr, cpu = pointer(lengths), torch.device("cpu")
    for make, is_padded in ((caption_runs, True), (image_runs, False)):
        layout = make(ptr, 32, slots, cpu)
        assert layout.rows == len(layout.source)
        for run in range(len(layout)):
            first, last = layout.starts[run : run + 2]
            slot, source = layout.slot[run], layout.source[first:last]
            assert layout.start[run] == first
            assert is_padded or len(source) == (slot >= 0).sum()
            for at, node in enumerate(source.tolist()):
                owner = int(layout.owner[run, slot[at]]) if slot[at] >= 0 else -1
                assert node == -1 if owner < 0 else ptr[owner] <= node < ptr[owner + 1]
                assert owner < 0 or layout.inv_count[run, at] == 1 / torch.tensor(lengths[owner])
        nodes = layout.source[layout.source >= 0].tolist()
        assert len(set(nodes)) == len(nodes) == sum(n for n in lengths if n <= 32)


@settings(deadline=None)
@given(
    rows=counts,
    columns=counts,
    budget=st.integers(1, 5000),
    tile_cost=st.sampled_from([0, 50, 10_000]),
)
def test_tiles_cover_every_pair_of_nodes_once_within_the_budget(rows, columns, budget, tile_cost):
    covered = torch.zeros(len(rows), len(columns), dtype=torch.int64)
    groups = equal_blocks(offsets(rows)), equal_blocks(offsets(columns))
    for row_tile, column_tile in tiles(*merged_blocks(*groups, tile_cost), budget):
        for tile, lengths in ((row_tile, rows), (column_tile, columns)):
            nodes_held(tile, lengths)
        covered[row_tile.owners[:, None], column_tile.owners] += 1
        elements = len(row_tile) * row_tile.rows * len(column_tile) * column_tile.rows
        assert elements <= budget or len(row_tile) == len(column_tile) == 1
    expected = torch.outer((torch.tensor(rows) > 0).long(), (torch.tensor(columns) > 0).long())
    assert torch.equal(covered, expected.view_as(covered))


def nodes_held(tile, lengths):
    """Every owner's nodes lie in its own row, from the left, and nothing else does."""
    for owner, row in zip(tile.owners, tile.source, strict=True):
        first, padding = offsets(lengths)[owner], tile.rows - lengths[owner]
        assert row.tolist() == [*range(first, first + lengths[owner]), *[-1] * padding]


def test_counts_are_merged_only_where_that_is_cheaper():
    rows = equal_blocks(offsets([2, 3, 4, 9, 9]))
    columns = equal_blocks(offsets([6, 7, 8, 20]))
    assert [len(groups) for groups in merged_blocks(rows, columns, 0)] == [4, 4]
    assert [len(groups) for groups in merged_blocks(rows, columns, 10**6)] == [1, 1]
    many = equal_blocks(offsets([10, 30] * 500)), equal_blocks(offsets([8, 16] * 500))
    assert [len(groups) for groups in merged_blocks(*many, 8192)] == [2, 2]
