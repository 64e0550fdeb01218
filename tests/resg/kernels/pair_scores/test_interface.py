"""Does pair_scores choose its backend, refuse bad input, and sit well in PyTorch?"""

import pytest
import torch

from resg.kernels.pair_scores import pair_scores
from resg.kernels.pair_scores.operators import pair_scores_operator
from resg.kernels.pair_scores.settings import PairSettings


def nodes(rows=6, width=4, **kwargs):
    return torch.randn(rows, width, **kwargs)


PTR = torch.tensor([0, 2, 6])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((nodes(), nodes(width=5), PTR, PTR), r"\[6, 4\] and words \[6, 5\]"),
        ((nodes(), nodes()[0], PTR, PTR), r"\[6, 4\] and words \[4\]"),
        ((nodes(), nodes().half(), PTR, PTR), "regions torch.float32 and words torch.float16"),
        ((nodes().int(), nodes().int(), PTR, PTR), "torch.int32"),
        ((nodes(), nodes(device="meta"), PTR, PTR), "regions are on cpu and words on meta"),
        ((nodes(), nodes(), PTR.float(), PTR), r"region_ptr .* \[3\] of torch.float32"),
        ((nodes(), nodes(), PTR, PTR[None]), r"word_ptr .* \[1, 3\]"),
        ((nodes(), nodes(), PTR[:0], PTR), r"region_ptr .* \[0\]"),
        (
            (nodes(), nodes(), PTR, PTR[:-1]),
            r"word_ptr .* nodes, 6 \(nodes \[6, 4\]\); got 0 to 2",
        ),
        ((nodes(), nodes(), PTR + 1, PTR), "region_ptr .* got 1 to 7"),
        ((nodes(), nodes(), torch.tensor([0, 4, 2, 6]), PTR), "goes from 4 at 1 to 2"),
    ],
)
@pytest.mark.parametrize("backend", ["torch", "reference"])
def test_nodes_and_pointers_that_do_not_fit(args, message, backend):
    with pytest.raises(ValueError, match=message):
        pair_scores(*args, backend=backend)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"direction": "i2i"}, "direction is one of both, t2i, i2t, not 'i2i'"),
        ({"normalise": "l2"}, "normalise is one of clipped_l2, plain"),
        ({"pooling": "max"}, "pooling is one of mean, lse"),
        ({"temperatures": (9.0,)}, "temperatures"),
        ({"temperatures": (9.0, -1.0)}, "temperatures"),
        ({"lambda_lse": 0.0}, "lambda_lse"),
        ({"tile_bytes": 0}, "tile_bytes"),
        (
            {"backend": "cuda"},
            "no backend 'cuda'.*auto, reference, torch, triton.*RESG_KERNELS",
        ),
    ],
)
def test_settings_that_do_not_exist(settings, message):
    with pytest.raises(ValueError, match=message):
        pair_scores(nodes(), nodes(), PTR, PTR, **settings)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_two_devices_are_refused():
    with pytest.raises(ValueError, match="regions are on cuda:0 and words on cpu"):
        pair_scores(nodes(device="cuda"), nodes(), PTR, PTR)


@pytest.mark.parametrize("named", ["torch", "scatter", "auto"])
def test_the_environment_names_the_backend(monkeypatch, ran, named):
    monkeypatch.setenv("RESG_KERNELS", named)
    pair_scores(nodes(), nodes(), PTR, PTR)
    assert ran == {"torch": 1, "triton": 0} or ran["torch"] > 1


def test_the_environment_can_name_the_reference(monkeypatch, ran):
    monkeypatch.setenv("RESG_KERNELS", "reference")
    pair_scores(nodes(), nodes(), PTR, PTR)
    assert ran == {"torch": 0, "triton": 0}


def test_float64_stays_float64_and_all_else_scores_in_float32():
    for dtype, expected in ((torch.float64, torch.float64), (torch.bfloat16, torch.float32)):
        x = nodes(dtype=dtype)
        assert pair_scores(x, x, PTR, PTR).dtype == expected


def test_opcheck(place, make_case):
    case = make_case([5, 3], [4, 2], device=place.device)
    args = (case.regions, case.words, case.region_ptr, case.word_ptr)
    args = (*(x.requires_grad_() for x in args[:2]), *args[2:])
    settings = PairSettings(normalise="clipped_l2")
    torch.library.opcheck(pair_scores_operator, (*args, *settings.values(), 2**20, place.backend))


def test_torch_compile_gives_the_same(place, make_case):
    case = make_case([5, 3], [4, 2], device=place.device)

    def loss(regions, words):
        scores = pair_scores(
            regions * 2, words, case.region_ptr, case.word_ptr, backend=place.backend
        )
        return (scores * case.grad).sum()

    results = []
    for function in (loss, torch.compile(loss, backend="aot_eager", fullgraph=True)):
        inputs = [x.detach().clone().requires_grad_() for x in (case.regions, case.words)]
        value = function(*inputs)
        results.append([value.detach(), *torch.autograd.grad(value, inputs)])
    for expected, compiled in zip(*results, strict=True):
        torch.testing.assert_close(compiled, expected)


def test_autocast_changes_nothing(place, make_case):
    for dtype in (torch.float32, *place.half_dtypes):
        case = make_case([5, 30], [4, 12], dtype=dtype, device=place.device)
        expected = case.run(place.backend)
        with torch.autocast(place.device, dtype=torch.bfloat16):
            results = case.run(place.backend)
        assert all(torch.equal(a, b) for a, b in zip(results, expected, strict=True))
