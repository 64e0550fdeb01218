import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from resg.graphs.ragged import Layout, gather_groups, group_of_row, lengths, offsets

COUNTS = st.lists(st.integers(0, 5), min_size=1, max_size=8)


@given(COUNTS)
def test_padding_and_its_mask_give_the_rows_back(counts):
    layout = Layout.of(offsets(torch.tensor(counts)))
    rows = torch.arange(1, sum(counts) + 1, dtype=torch.float32)[:, None].repeat(1, 3)
    padded, is_row = layout.pad(rows, value=-7), layout.is_row
    assert padded.shape == (len(counts), max(counts), 3)
    assert torch.equal(padded[is_row], rows)
    assert (padded[~is_row] == -7).all()
    assert is_row.sum(1).tolist() == counts


@given(COUNTS, st.data())
def test_gathered_groups_are_the_chosen_groups_in_order(counts, data):
    ptr = offsets(torch.tensor(counts))
    rows = torch.arange(sum(counts))
    chosen = data.draw(st.lists(st.integers(0, len(counts) - 1), min_size=1, max_size=6))
    index, new_ptr = gather_groups(ptr, torch.tensor(chosen))
    groups = [rows[ptr[g] : ptr[g + 1]].tolist() for g in chosen]
    assert rows[index].tolist() == [row for group in groups for row in group]
    assert lengths(new_ptr).tolist() == [len(g) for g in groups]
    owner = group_of_row(new_ptr, len(index))
    assert owner.tolist() == [i for i, g in enumerate(groups) for _ in g]


@given(COUNTS)
def test_rows_by_step_are_those_of_a_packed_sequence(counts):
    layout = Layout.of(offsets(torch.tensor(counts)))
    rows = torch.arange(sum(counts))
    groups = [group for group in rows.split(counts) if len(group)]
    if not groups:
        assert layout.longest == layout.num_rows == 0
        return
    if layout.steps is None:
        assert len(set(counts)) == 1
        return
    packed = torch.nn.utils.rnn.pack_sequence(groups, enforce_sorted=False)
    assert layout.steps.sizes.tolist() == packed.batch_sizes.tolist()
    assert rows[layout.steps.rows].tolist() == packed.data.tolist()
    assert layout.steps.rows[layout.steps.place].tolist() == rows.tolist()


@given(COUNTS)
def test_the_mirror_turns_every_group_round(counts):
    layout = Layout.of(offsets(torch.tensor(counts)))
    rows = torch.arange(sum(counts))
    turned = [row for group in rows.split(counts) for row in group.flip(0).tolist()]
    assert rows[layout.mirror].tolist() == turned


@given(COUNTS, st.integers(1, 3))
def test_a_padded_layout_has_the_rows_of_the_groups_and_pads_their_ends(counts, more):
    longest = max(counts) + more
    layout = Layout.padded(np.array(counts), longest, torch.device("cpu"))
    assert (layout.num_groups, layout.num_rows) == (len(counts), len(counts) * longest)
    assert layout.counts.tolist() == counts
    assert layout.is_row.sum(1).tolist() == counts
    grid = torch.arange(layout.num_rows).view(-1, longest)
    own = [row for group, count in zip(grid.tolist(), counts, strict=True) for row in group[:count]]
    assert layout.valid(grid.flatten()).tolist() == own
    assert layout.valid_ptr.tolist() == offsets(torch.tensor(counts)).tolist()
    padded = layout.pad(grid.flatten(), value=-7)
    assert torch.equal(padded[layout.is_row], torch.tensor(own, dtype=torch.long))
    assert (padded[~layout.is_row] == -7).all()
    for group, turned, count in zip(grid, layout.mirror.view(-1, longest), counts, strict=True):
        assert turned.tolist() == [*group[:count].flip(0).tolist(), *group[count:].tolist()]
    assert layout.group.tolist() == [g for g in range(len(counts)) for _ in range(longest)]
