"""Do all backends compute what the reference computes, forward and backward?"""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resg.kernels.pair_scores import pair_scores
from resg.kernels.pair_scores.checks import PairInputs
from resg.kernels.pair_scores.reference import reference_pair_scores
from resg.kernels.pair_scores.settings import PairSettings

SINGLE_ERROR, HALF_ERROR = 1e-5, 5e-3
FORMS = [
    pytest.param({}, id="both"),
    pytest.param({"direction": "t2i"}, id="t2i"),
    pytest.param({"direction": "i2t"}, id="i2t"),
    pytest.param({"normalise": "plain"}, id="plain"),
    pytest.param({"pooling": "lse"}, id="lse"),
    pytest.param({"normalise": "plain", "pooling": "lse", "lambda_lse": 50.0}, id="plain-lse"),
    pytest.param({"temperatures": (25.0, 25.0)}, id="hot"),
]


@pytest.mark.parametrize("form", FORMS)
def test_float32_scores_and_gradients_match_the_reference(place, make_case, ran, form):
    case = make_case([36, 5, 20], [12, 1, 7, 30], device=place.device)
    errors = case.errors(case.run(place.backend, **form), **form)
    assert max(errors) <= SINGLE_ERROR, errors
    assert ran[place.backend] > 0
    assert sum(ran.values()) == ran[place.backend]


@pytest.mark.parametrize("form", FORMS)
def test_half_scores_and_gradients_match_the_reference(place, make_case, ran, form):
    for dtype in place.half_dtypes:
        case = make_case([36, 5, 20], [12, 2, 7, 30], dtype=dtype, device=place.device)
        errors = case.errors(case.run(place.backend, **form), **form)
        assert max(errors) <= HALF_ERROR, (dtype, errors)
    assert sum(ran.values()) == ran[place.backend] > 0


@pytest.mark.parametrize("num_regions", [1, 2, 36, 63, 64, 65, 100, 200])
def test_any_number_of_regions(place, make_case, num_regions):
    for dtype in (torch.float32, *place.half_dtypes):
        case = make_case([num_regions], [12, 3], dtype=dtype, device=place.device, seed=num_regions)
        errors = case.errors(case.run(place.backend))
        assert max(errors) <= (SINGLE_ERROR if dtype == torch.float32 else HALF_ERROR), errors


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_large_images_in_every_form(place, make_case, dtype, form):
    if place.name == "interpreter":
        pytest.skip("forms of the kernels that only a card can have")
    case = make_case([100, 70], [12, 2, 30], dtype=dtype, device=place.device)
    errors = case.errors(case.run(place.backend, **form), **form)
    assert max(errors) <= (SINGLE_ERROR if dtype == torch.float32 else HALF_ERROR), errors


def test_many_runs_of_images_and_captions(place, make_case):
    for dtype in (torch.float32, *place.half_dtypes):
        case = make_case(
            [36, 9, 20, 64, 70] * 2, [12, 30, 7, 60, 1, 16] * 3, dtype=dtype, device=place.device
        )
        errors = case.errors(case.run(place.backend))
        assert max(errors) <= (SINGLE_ERROR if dtype == torch.float32 else HALF_ERROR), errors


def test_every_caption_length(place, make_case):
    case = make_case([9], range(1, 61), device=place.device)
    errors = case.errors(case.run(place.backend))
    assert max(errors) <= SINGLE_ERROR, errors


def test_more_nodes_than_a_tile_holds(place, make_case, ran):
    case = make_case([130, 4], [70, 5], device=place.device)
    errors = case.errors(case.run(place.backend))
    assert max(errors) <= SINGLE_ERROR, errors
    assert ran[place.backend] > 0
    assert ran["torch"] > 0  # what no tile holds is composed on every backend


def test_a_kernel_that_does_not_fit_on_the_card_is_composed(place, make_case, ran, monkeypatch):
    if place.backend != "triton":
        pytest.skip("torch tiles fit everywhere")
    from triton.runtime.errors import OutOfResources

    from resg.kernels.pair_scores.triton_backend import backward, forward

    def refuse(*args):
        raise OutOfResources(303104, 232448, "shared memory")

    monkeypatch.setattr(forward, "REFUSED", set())
    monkeypatch.setattr(forward.ForwardPass, "launch_scores", refuse)
    monkeypatch.setattr(backward.Passes, "launch_gradients", refuse)
    case = make_case([5, 2], [3, 70], device=place.device)
    for _ in range(2):
        errors = case.errors(case.run(place.backend))
        assert max(errors) <= SINGLE_ERROR, errors
    assert len(forward.REFUSED) == 2  # one form of each kernel, tried once
    assert ran["torch"] > 0
    assert ran["triton"] == 0


@pytest.mark.parametrize("form", FORMS)
def test_merged_counts_give_the_same(make_case, ran, form):
    case = make_case([3, 4, 4, 5, 0, 4], [6, 7, 1, 7, 8, 5], length=0.7)
    errors = case.errors(case.run("torch", **form), **form)
    assert max(errors) <= SINGLE_ERROR, errors
    assert ran["torch"] == 2  # one padded tile, forward and backward


@pytest.mark.parametrize("length", [1e-3, 0.03, 300.0])
def test_nodes_of_any_length(place, make_case, length):
    dtypes = [torch.float32] if length < 0.01 else [torch.float32, *place.half_dtypes]
    for dtype in dtypes:  # the floor of 1e-8 under norms is kept in float32 alone
        case = make_case([36, 8], [12, 4], dtype=dtype, device=place.device, length=length)
        errors = case.errors(case.run(place.backend))
        assert max(errors) <= (SINGLE_ERROR if dtype == torch.float32 else HALF_ERROR), errors


@pytest.mark.parametrize("direction", ["t2i", "i2t"])
@pytest.mark.parametrize("normalise", ["clipped_l2", "plain"])
@pytest.mark.parametrize("pooling", ["mean", "lse"])
def test_gradcheck_of_the_reference(make_case, direction, normalise, pooling):
    case = make_case([3, 2], [4, 2], width=4, dtype=torch.float64)
    form = PairSettings(direction, (9.0, 4.0), normalise, pooling, 6.0)

    def scores(regions, words):
        return reference_pair_scores(
            PairInputs(regions, words, case.region_ptr, case.word_ptr, form, tile_bytes=1)
        )

    nodes = case.regions.requires_grad_(), case.words.requires_grad_()
    assert torch.autograd.gradcheck(scores, nodes)


def test_an_owner_without_nodes_scores_zero_and_takes_no_gradient(place, make_case):
    case = make_case([0, 4, 0], [3, 0, 2], device=place.device)
    scores, *grads = case.run(place.backend)
    expected = torch.zeros(3, 3, dtype=torch.bool)
    expected[1, 0] = expected[1, 2] = True
    assert torch.equal(scores.cpu() != 0, expected)
    assert all(grad.isfinite().all() and grad.any() for grad in grads)


@pytest.mark.parametrize(("regions", "words"), [([], [3]), ([3], []), ([], []), ([0], [0])])
def test_nothing_to_score(place, make_case, regions, words):
    case = make_case(regions, words, device=place.device)
    scores, grad_regions, grad_words = case.run(place.backend)
    assert scores.shape == (len(regions), len(words))
    assert not scores.any()
    assert grad_regions.shape == case.regions.shape
    assert grad_words.shape == case.words.shape


def test_a_zero_node_gives_numbers(place, make_case):
    case = make_case([3, 1], [3, 1], device=place.device)
    case.regions[0] = 0
    case.regions[3] = 0
    case.words[3] = 0
    assert all(result.isfinite().all() for result in case.run(place.backend))


def test_a_pair_scores_the_same_alone_and_among_others(place, make_case):
    case = make_case([36, 3, 17], [12, 40, 5], device=place.device)
    scores = case.scores(place.backend)
    for image in range(3):
        for caption in range(3):
            regions = case.regions[case.region_ptr[image] : case.region_ptr[image + 1]]
            words = case.words[case.word_ptr[caption] : case.word_ptr[caption + 1]]
            ptrs = torch.tensor([0, len(regions)]), torch.tensor([0, len(words)])
            pair = {"regions": regions, "words": words, "region_ptr": ptrs[0], "word_ptr": ptrs[1]}
            alone = dataclasses.replace(case, **pair).scores(place.backend)
            torch.testing.assert_close(alone[0, 0], scores[image, caption], rtol=1e-5, atol=1e-6)


def test_both_directions_are_the_mean_of_each(place, make_case):
    case = make_case([36, 7], [12, 20], device=place.device)
    both, t2i, i2t = (
        case.scores(place.backend, direction=direction) for direction in ("both", "t2i", "i2t")
    )
    torch.testing.assert_close(both, (t2i + i2t) / 2)


def test_strides_do_not_matter(place, make_case):
    case = make_case([12, 5], [7, 9], device=place.device)
    expected = case.scores(place.backend)
    transposed = case.regions.T.contiguous().T
    every_second = torch.stack((case.words, torch.full_like(case.words, torch.nan)), 1)
    every_second = every_second.view(-1, case.words.shape[1])[::2]
    ptrs = case.region_ptr.repeat_interleave(2)[::2], case.word_ptr.int()
    strided = dataclasses.replace(
        case, regions=transposed, words=every_second, region_ptr=ptrs[0], word_ptr=ptrs[1]
    )
    scores = strided.scores(place.backend)
    torch.testing.assert_close(scores, expected)


@pytest.mark.filterwarnings("ignore:.*deterministic:UserWarning")
def test_nothing_is_read_before_it_is_written(place, make_case):
    for dtype in (torch.float32, *place.half_dtypes):
        case = make_case([12, 5, 40], [7, 1, 50], dtype=dtype, device=place.device)
        expected = case.run(place.backend)
        torch.use_deterministic_algorithms(True, warn_only=True)  # fills new memory with NaN
        try:
            assert torch.empty(3, device=place.device).isnan().all()
            results = case.run(place.backend)
        finally:
            torch.use_deterministic_algorithms(False)
        for result, value in zip(results, expected, strict=True):
            torch.testing.assert_close(result, value)


def test_two_runs_are_equal_bit_for_bit(place, make_case):
    for dtype in (torch.float32, *place.half_dtypes):
        case = make_case([36, 5, 20], [12, 1, 7, 30], dtype=dtype, device=place.device)
        first, second = case.run(place.backend), case.run(place.backend)
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("tile_bytes", [1, 20_000, 10**9])
def test_the_tile_does_not_change_scores(place, make_case, tile_bytes):
    case = make_case([36, 5, 20], [12, 60, 7], device=place.device)
    errors = case.errors(case.run(place.backend, tile_bytes=tile_bytes))
    assert max(errors) <= SINGLE_ERROR, errors


@settings(max_examples=30, deadline=None)
@given(
    regions=st.lists(st.integers(0, 6), max_size=5),
    words=st.lists(st.integers(0, 6), max_size=5),
    tile_bytes=st.integers(1, 10_000),
)
def test_no_counts_and_no_tile_change_scores(regions, words, tile_bytes):
    generator = torch.Generator().manual_seed(0)
    nodes = [torch.randn(sum(counts), 8, generator=generator) for counts in (regions, words)]
    ptrs = [torch.tensor([0, *counts]).cumsum(0) for counts in (regions, words)]
    for normalise in ("clipped_l2", "plain"):
        form = {"normalise": normalise}
        scores = pair_scores(*nodes, *ptrs, backend="torch", tile_bytes=tile_bytes, **form)
        expected = pair_scores(*nodes, *ptrs, backend="reference", **form)
        torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("form", "packed_launches"),
    [
        ({}, 2),
        ({"direction": "t2i"}, 1),
        ({"direction": "i2t", "pooling": "lse"}, 1),
        ({"pooling": "lse", "lambda_lse": 70.0}, 0),
        ({"normalise": "plain"}, 0),
        ({"temperatures": (25.0, 4.0)}, 0),
    ],
)
def test_the_kernels_that_a_form_runs(place, make_case, started, form, packed_launches):
    """Images of unlike counts make two blocks; images of like counts one, which is not packed."""
    for regions, blocks in (([5, 20], 2), ([5, 3], 1)):
        started.clear()
        case = make_case(regions, [4, 2], dtype=torch.float16, device=place.device)
        case.run(place.backend, **form)
        expected = ["score_kernel"] * blocks
        if packed_launches and blocks > 1:
            expected = ["packed_score_kernel"] * packed_launches
        expected += ["gradient_kernel"] * blocks
        tiles = [name for name in started if name in expected or "score" in name]
        assert tiles == (expected if place.backend == "triton" else [])


def test_large_images_beside_packed_ones(place, make_case, started):
    for dtype in place.half_dtypes:
        case = make_case([36, 65, 5], [12, 2], dtype=dtype, device=place.device)
        errors = case.errors(case.run(place.backend))
        assert max(errors) <= HALF_ERROR, errors
    if place.backend == "triton":
        assert {"packed_score_kernel", "score_kernel", "gradient_kernel"} <= set(started)


@pytest.mark.parametrize("direction", ["t2i", "i2t"])
@pytest.mark.parametrize(("pooling", "named"), [("mean", "Mean"), ("lse", "LogSumExp")])
def test_scores_are_those_of_released_scan(place, direction, pooling, named):
    """benchmarks/pair_scores_golden.py made the file with the functions of Lee et al.'s release."""
    golden = json.loads((Path(__file__).parent / "released_scan.json").read_text())
    regions = torch.tensor(golden["regions"], device=place.device)
    words = torch.tensor(golden["words"], device=place.device)
    region_ptr = torch.arange(len(regions) + 1) * regions.shape[1]
    ptrs = region_ptr, torch.tensor([0, *golden["lengths"]]).cumsum(0)
    settings = {"direction": direction, "pooling": pooling, "lambda_lse": 6.0}
    settings["normalise"] = "clipped_l2"
    scores = pair_scores(regions.flatten(0, 1), words, *ptrs, backend=place.backend, **settings)
    expected = torch.tensor(golden["scores"][f"{direction} {named}"])
    torch.testing.assert_close(scores.cpu(), expected, rtol=0, atol=1e-5)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("many", ["regions", "words"])
def test_more_than_two_to_the_31_elements(many):
    """2.2 million nodes x 1024 against three owners; the last owner must equal itself alone."""
    count = 36 if many == "regions" else 12
    owners = 2_200_032 // count
    few = [12, 7, 30] if many == "regions" else [36, 20, 50]
    nodes = torch.randn(owners * count, 1024, dtype=torch.bfloat16, device="cuda")
    assert nodes.numel() > 2**31
    others = torch.randn(sum(few), 1024, dtype=torch.bfloat16, device="cuda")
    grad = torch.randn(owners, len(few), device="cuda")

    def run(nodes, others, owners, grad, backend):
        nodes = nodes.detach().requires_grad_()
        ptr, few_ptr = torch.arange(owners + 1) * count, torch.tensor([0, *few]).cumsum(0)
        form = {"normalise": "clipped_l2", "backend": backend}
        if many == "regions":
            scores = pair_scores(nodes, others, ptr, few_ptr, **form)
        else:
            scores = pair_scores(others, nodes, few_ptr, ptr, **form).T
        return scores[-1], torch.autograd.grad(scores, nodes, grad.to(scores.dtype))[0][-count:]

    results = run(nodes, others, owners, grad, "triton")
    alone = nodes[-count:].double(), others.double(), 1, grad[-1:], "reference"
    for result, exact in zip(results, run(*alone), strict=True):
        assert (result.double() - exact).norm() <= HALF_ERROR * exact.norm()
