import torch
from hypothesis import given
from hypothesis import strategies as st

from resg.graphs.ragged import gather_groups, group_of_row, lengths, offsets, pad

COUNTS = st.lists(st.integers(0, 5), min_size=1, max_size=8)


@given(COUNTS)
def test_padding_and_its_mask_give_the_rows_back(counts):
    ptr = offsets(torch.tensor(counts))
    rows = torch.arange(1, sum(counts) + 1, dtype=torch.float32)[:, None].repeat(1, 3)
    padded, is_row = pad(rows, ptr, value=-7)
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
