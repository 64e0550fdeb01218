import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resg.data.sampling import PairSampler, epoch_batches, nearest_images


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


def test_captions_of_an_image_share_a_batch_side_by_side():
    owner = torch.arange(12).repeat(5)
    for near in (None, torch.randint(12, (12, 4))):
        batches = epoch_batches(owner, 8, 0, 1, near, captions_per_image=2)
        assert sorted(torch.cat(batches).tolist()) == list(range(60))
        images = [owner[batch] for batch in batches]
        assert [len(batch) for batch in images] == [8, 8, 8, 8, 8, 8, 8, 4]  # 2, 2 and 1 captions
        for batch in images[:6]:
            assert torch.equal(batch[::2], batch[1::2])
            assert len(batch.unique()) == 4


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


def make_sampler(**changes):
    settings = {"batch_size": 8, "seed": 0, "hard_batches": True, **changes}
    return PairSampler(torch.arange(64), 64, 16, **settings)


def twin_embeddings():
    """Images 0 and 1, 2 and 3, ... have equal embeddings."""
    random = torch.randn(32, 16, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.normalize(random, dim=1).repeat_interleave(2, 0)


def test_a_sampler_puts_images_that_it_remembers_as_similar_into_one_batch():
    sampler = make_sampler()
    for rows in torch.arange(64).split(10):
        sampler.remember(rows, twin_embeddings()[rows])
    assert all({int(i) ^ 1 for i in batch} == set(batch.tolist()) for batch in sampler.batches(1))
    at_random = make_sampler(hard_batches=False).batches(1)
    first_epochs = zip(sampler.batches(0), make_sampler(hard_batches=False).batches(0), strict=True)
    assert all(torch.equal(one, other) for one, other in first_epochs)
    assert any({int(i) ^ 1 for i in batch} != set(batch.tolist()) for batch in at_random)


def test_a_sampler_draws_the_same_batches_from_its_stored_state():
    sampler, restored = make_sampler(), make_sampler()
    sampler.remember(torch.arange(64), twin_embeddings())
    restored.load_state_dict(sampler.state_dict())
    pairs = zip(sampler.batches(3), restored.batches(3), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_processes_share_a_batch_and_draw_their_own_random_numbers():
    sampler = make_sampler(num_processes=3)
    shares = sampler.shares(torch.arange(8))
    assert [share.tolist() for share in shares] == [[0, 1, 2], [3, 4, 5], [6, 7]]
    drawn = {
        (epoch, batch, rank): torch.rand(1, generator=sampler.random(epoch, batch, rank)).item()
        for epoch in (0, 1)
        for batch in (1, 2)
        for rank in (0, 1)
    }
    assert len(set(drawn.values())) == 8
    again = make_sampler(num_processes=3)
    assert torch.rand(1, generator=again.random(1, 2, 1)).item() == drawn[1, 2, 1]
