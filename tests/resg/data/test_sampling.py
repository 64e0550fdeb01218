import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resg.data.sampling import epoch_batches, nearest_images


@given(st.lists(st.integers(1, 5), min_size=2, max_size=30), st.integers(2, 8), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_every_caption_comes_once_and_no_image_twice_in_a_batch(counts, batch_size, seed):
    owner = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    owner = owner[torch.randperm(len(owner), generator=torch.Generator().manual_seed(seed))]
    neighbours = torch.randint(len(counts), (len(counts), 4))
    for near in (None, neighbours):
        batches = epoch_batches(owner, batch_size, seed, 0, near)
        assert sorted(torch.cat(batches).tolist()) == list(range(len(owner)))
        for batch in batches:
            assert len(owner[batch].unique()) == len(batch) <= batch_size + 1


def test_the_order_depends_on_seed_and_epoch_alone():
    owner = torch.arange(40).repeat(2)
    first = torch.cat(epoch_batches(owner, 8, 3, 1))
    assert torch.equal(first, torch.cat(epoch_batches(owner, 8, 3, 1)))
    assert not torch.equal(first, torch.cat(epoch_batches(owner, 8, 3, 2)))
    assert not torch.equal(first, torch.cat(epoch_batches(owner, 8, 4, 1)))


def test_a_single_caption_at_the_end_joins_the_batch_before():
    sizes = [len(batch) for batch in epoch_batches(torch.arange(9), 4, 0, 0)]
    assert sizes == [4, 5]


def test_every_process_has_a_part_of_every_batch():
    owner = torch.arange(12).repeat_interleave(2)
    owner = torch.cat([owner, owner[:1]])  # one image has a third caption
    sizes = [len(batch) for batch in epoch_batches(owner, 5, 0, 0, num_processes=3)]
    assert sizes == [5, 7, 5, 7]  # two of twelve join the batch before; the third caption waits
    assert [len(batch) for batch in epoch_batches(owner, 5, 0, 0)] == [5, 5, 2, 5, 5, 2, 1]


def test_neighbours_share_a_batch():
    twins = torch.arange(64) ^ 1  # 0 and 1, 2 and 3, ...
    batches = epoch_batches(torch.arange(64), 8, 0, 1, twins[:, None])
    for batch in batches:
        assert {int(twins[i]) for i in batch} == set(batch.tolist())
    apart = epoch_batches(torch.arange(64), 8, 0, 1)
    assert any({int(twins[i]) for i in batch} != set(batch.tolist()) for batch in apart)


def test_nearest_images_are_by_cosine_and_never_oneself():
    angles = torch.tensor([0.0, 0.1, 1.0, 1.3, 3.0])
    unit = torch.stack([angles.cos(), angles.sin()], dim=1)
    nearest = nearest_images(unit)
    assert nearest[:, 0].tolist() == [1, 0, 3, 2, 3]
    assert nearest.shape == (5, 4)
    assert all(i not in row for i, row in enumerate(nearest.tolist()))
