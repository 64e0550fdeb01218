"""Captured steps against the same steps operation by operation.

What needs no graph, padded batches among them, is tested on a CPU too.
"""

from dataclasses import replace

import pytest
import torch

from resg.data.splits import SplitReaders
from resg.jobs import resume_run, train_run
from resg.presets import load_settings
from resg.run_folder import create_run, load_matcher, open_run
from resg.training.alarms import TrainingError
from resg.training.cuda_graphs import (
    CapturedFunction,
    CapturedLoss,
    CapturedPairEncoder,
    Pool,
    can_capture,
)
from resg.training.distributed import Processes
from resg.training.run_log import read_metrics
from resg.training.scorer import PairEncoder
from resg.training.trainer import Trainer

GPU, CPU = torch.device("cuda"), torch.device("cpu")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
SMALL = (
    "model.width=64",
    "model.graph.heads=4",
    "model.graph.dropout=0",
    "model.graph.edge_dropout=0",
    "model.text.word_width=16",
    "train.batch_size=20",  # each pass over the images ends in a batch of 8
    "train.epochs=3",
    "train.precision=bf16",
    "loss.hardest_after=1",  # a running recall would change the loss of a step that is repeated
)
DROPS = ("train.region_drop=0.3", "train.word_drop=0.2")


def small(*changes, preset="resg-gru"):
    return load_settings(preset, (*SMALL, *changes))


def make_trainer(shards, folder, settings, device=GPU):
    readers = SplitReaders.open(shards, "train")
    vocabulary = readers.vocabulary(settings)
    tables = readers.tables(settings, vocabulary, device)
    data = {"feature_width": tables.images.feature_width}
    trainer = Trainer(create_run(folder, settings, vocabulary, data), tables, tables, device)
    for name, weight in trainer.matcher.named_parameters():
        if name.endswith((".gate", ".order.scale")):  # start at 0: no edge would matter
            torch.nn.init.constant_(weight, 0.5)
    trainer.model.train()
    return trainer


def take_step(trainer, numbers):
    """The loss of these captions and all gradients."""
    loss = trainer._train_batch(trainer._load((1, numbers)))["loss"]
    weights = trainer.matcher.named_parameters()
    gradients = {name: w.grad.clone() for name, w in weights if w.grad is not None}
    trainer.optimiser.adamw.zero_grad(set_to_none=True)
    return loss, gradients


def distance(gradients, others, names=None):
    """Of gradients of some weights, or of all."""
    names = names or gradients
    pairs = [(gradients[name].cpu().flatten(), others[name].cpu().flatten()) for name in names]
    one, other = (torch.cat(tensors) for tensors in zip(*pairs, strict=True))
    return float((one - other).norm())


def assert_repeated(first, second):
    assert first[0] == second[0]
    for name, gradient in first[1].items():
        if "pooling" in name:  # a sum over captions in any order
            error = distance(first[1], second[1], [name])
            assert error <= 0.02 * float(gradient.norm()) + 1e-4, name
        else:
            assert torch.equal(gradient, second[1][name]), name


def losses(folder):
    return [event["loss"] for event in read_metrics(folder) if event["kind"] == "step"]


@pytest.fixture(params=["launched", pytest.param("captured", marks=[pytest.mark.cuda, needs_gpu])])
def padding_device(request, monkeypatch):
    """A device that pads batches: a GPU, or the CPU made to encode such batches as any others."""
    if request.param == "captured":
        return GPU
    pad_on_cpu(monkeypatch)
    return CPU


def pad_on_cpu(monkeypatch):
    monkeypatch.setattr(
        "resg.training.cuda_graphs.can_capture",
        lambda settings, *_: settings.train.cuda_graphs == "auto",
    )
    monkeypatch.setattr(CapturedPairEncoder, "_encode_padded", PairEncoder.__call__)
    monkeypatch.setattr(CapturedLoss, "__call__", lambda self, *inputs: self.loss(*inputs))


@pytest.fixture(scope="module")
def two_lengths(world, tmp_path_factory):
    """Shards in which the captions of 24 images have 3 words, those of 24 others 12."""
    images, captions = world.make_split("train", 48, 0)
    more = range(9)
    longer = [
        replace(
            caption,
            forms=caption.forms + ("so",) * len(more),
            lemmas=caption.lemmas + ("so",) * len(more),
            pos=caption.pos + ("ADV",) * len(more),
            heads=(*caption.heads, *(3 + place for place in more)),
            deprels=caption.deprels + ("advmod",) * len(more),
        )
        for caption in captions[48:]
    ]
    folder = tmp_path_factory.mktemp("two_lengths")
    world.write_split(folder, 0, "train", images, captions[:48] + longer)
    return folder


SHORT, LONG = torch.arange(0, 40, 2), torch.arange(50, 90, 2)  # one caption an image


def test_only_a_gpu_alone_captures_what_does_not_change_its_shape():
    one, half = Processes(), torch.bfloat16
    assert can_capture(small(), GPU, one, half)
    assert not can_capture(small(), CPU, one, half)
    assert not can_capture(small(), GPU, Processes(0, 2), half)
    assert not can_capture(small(), GPU, one, torch.float32)
    for change in (
        "train.cuda_graphs=never",
        "train.accumulate=2",
        "model.text.encoder=bert:any",
        "model.visual_graph.edges=[predicates]",
    ):
        assert not can_capture(small(change), GPU, one, half)


def test_training_on_a_cpu_captures_nothing(shards, tmp_path):
    trainer = make_trainer(shards, tmp_path, small("train.precision=auto"), CPU)
    assert type(trainer.scorer.encoder) is PairEncoder


def test_batches_are_padded_to_few_shapes(two_lengths, tmp_path, monkeypatch):
    pad_on_cpu(monkeypatch)
    trainer = make_trainer(two_lengths, tmp_path, small(), CPU)
    for numbers, words in ((SHORT, 8), (LONG, 16), (LONG[:10], None)):
        layout = trainer._load((1, numbers)).captions.layout
        assert layout.is_padded == (words is not None)
        assert layout.longest == (words or 12)


@pytest.mark.parametrize(
    ("preset", "changes"),
    [
        ("resg-gru", ("train.ema=0.9",)),
        ("resg-gru", DROPS),
        ("vse-inf", (*DROPS, "train.ema=0.9")),  # batch norm, words removed
    ],
)
def test_a_run_of_padded_batches_has_the_losses_of_one_without(
    preset, changes, padding_device, shards, tmp_path
):
    precision = "bf16" if padding_device == GPU else "fp32"
    for mode in ("never", "auto"):
        own = (f"train.cuda_graphs={mode}", f"train.precision={precision}", *changes)
        train_run(shards, tmp_path / mode, small(*own, preset=preset), padding_device)
    plain, padded = losses(tmp_path / "never"), losses(tmp_path / "auto")
    assert len(plain) == len(padded) == 18
    near, far = (0.01, 0.15) if padding_device == GPU else (1e-5, 1e-2)
    assert padded[:3] == pytest.approx(plain[:3], rel=near)
    assert padded[-3:] == pytest.approx(plain[-3:], rel=far)


def test_a_run_of_padded_batches_is_resumed(padding_device, shards, train_until, tmp_path):
    precision = "bf16" if padding_device == GPU else "fp32"
    settings = small(f"train.precision={precision}", *DROPS)
    train_until(shards, tmp_path / "broken", settings, 8, padding_device)
    resume_run(tmp_path / "broken", padding_device)
    train_run(shards, tmp_path / "whole", settings, padding_device)
    broken, whole = losses(tmp_path / "broken"), losses(tmp_path / "whole")
    if padding_device == GPU:
        assert broken == pytest.approx(whole, rel=0.05)
        return
    assert broken == whole
    weights = [load_matcher(open_run(tmp_path / n), CPU).state_dict() for n in ("whole", "broken")]
    assert all(torch.equal(weight, weights[1][name]) for name, weight in weights[0].items())


def test_a_padded_batch_that_is_not_finite_is_named(padding_device, shards, tmp_path):
    trainer = make_trainer(shards, tmp_path, small(), padding_device)
    trainer.training.images.features[:] = float("inf")
    with pytest.raises(TrainingError, match=r"not finite: features, .*\n?.* captions train-0#0"):
        take_step(trainer, SHORT)


def captured_function():
    x = torch.randn(50, device=GPU, requires_grad=True)
    return CapturedFunction(lambda x: (x.sin(), 2 * x.cos()), [x], (), Pool())


@pytest.mark.cuda
@needs_gpu
def test_a_captured_function_takes_other_inputs_and_leaves_them_alone():
    function = captured_function()
    inputs = [torch.randn(50, device=GPU, requires_grad=True) for _ in range(3)]
    before = [x.detach().clone() for x in inputs]
    for x, uses_both in zip(inputs, (True, False, True), strict=True):
        sines, cosines = function(x)
        torch.testing.assert_close(sines, x.sin())
        torch.testing.assert_close(cosines, 2 * x.cos())
        (sines.sum() + cosines.sum() if uses_both else sines.sum()).backward()
        torch.testing.assert_close(x.grad, x.cos() - 2 * x.sin() * uses_both)
        x.grad = None
    assert all(torch.equal(x, old) for x, old in zip(inputs, before, strict=True))


@pytest.mark.cuda
@needs_gpu
def test_a_gradient_is_refused_once_its_run_is_overwritten():
    function = captured_function()
    x = torch.randn(50, device=GPU, requires_grad=True)
    (first, _), (second, _) = function(x), function(x)
    with pytest.raises(RuntimeError, match="right after its forward pass"):
        first.sum().backward()
    total = second.sum()
    total.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="right after its forward pass"):
        total.backward()


@pytest.mark.cuda
@needs_gpu
@pytest.mark.parametrize(
    ("preset", "drop"),
    [
        ("resg-gru", 0),
        ("resg-gru", 0.3),
        ("resg-no-edges", 0.3),
        ("vse++", 0.3),
        ("vse-inf", 0.3),
    ],
)
def test_a_captured_step_is_as_near_to_float32_as_an_eager_one(preset, drop, shards, tmp_path):
    modes = (("fp32", "never", CPU), ("bf16", "never", GPU), ("bf16", "auto", GPU))
    trainers = [
        make_trainer(
            shards,
            tmp_path / f"{precision}-{mode}",
            small(
                f"train.precision={precision}",
                f"train.cuda_graphs={mode}",
                f"train.region_drop={drop}",
                preset=preset,
            ),
            device,
        )
        for precision, mode, device in modes
    ]
    for numbers in trainers[0].sampler.batches(0)[:3]:
        exact, eager, captured = (take_step(trainer, numbers) for trainer in trainers)
        assert captured[0] == pytest.approx(eager[0], rel=5e-3)
        assert exact[1].keys() == eager[1].keys() == captured[1].keys()
        assert distance(captured[1], exact[1]) <= 1.5 * distance(eager[1], exact[1])
        norms = {name: float(gradient.norm()) for name, gradient in exact[1].items()}
        for name, norm in norms.items():
            if norm < 0.02 * max(norms.values()):  # next to nothing: rounding is all of it
                continue
            # a few lengths decide all of the pooling's: these are near or far by chance
            slack = (0.3 if "pooling" in name else 0.05) * norm
            allowed = 1.5 * distance(eager[1], exact[1], [name]) + slack
            assert distance(captured[1], exact[1], [name]) <= allowed, name
    assert type(trainers[1].scorer.encoder) is PairEncoder
    assert len(trainers[2].scorer.encoder.graphs) == 1  # the third batch fits no bucket
    assert trainers[2].loss.graph is not None


@pytest.mark.cuda
@needs_gpu
@pytest.mark.parametrize("width", [64, 1024])
def test_a_captured_step_repeats_bit_for_bit(width, shards, tmp_path):
    trainer = make_trainer(shards, tmp_path, small(f"model.width={width}"))
    encoder, loss = trainer.scorer.encoder, trainer.loss
    trainer.scorer.encoder, trainer.loss = (
        PairEncoder(trainer.matcher, trainer.model, GPU),
        loss.loss,
    )
    launched = take_step(trainer, SHORT)
    trainer.scorer.encoder, trainer.loss = encoder, loss
    first = take_step(trainer, SHORT)
    for _ in range(8):
        assert_repeated(first, take_step(trainer, SHORT))
    nothing = {name: torch.zeros_like(gradient) for name, gradient in launched[1].items()}
    assert distance(first[1], launched[1]) <= 0.05 * distance(launched[1], nothing)


@pytest.mark.cuda
@needs_gpu
def test_batches_of_two_shapes_and_hardnesses_by_turns_do_not_disturb_each_other(
    two_lengths, tmp_path
):
    order = [(0, 0.0), (1, 0.0), (1, 0.9), (0, 0.9)]
    expected = {}
    for batch, recall in order:
        alone = make_trainer(two_lengths, tmp_path / f"{batch}-{recall}", small())
        alone.negatives.recall = recall
        expected[batch, recall] = take_step(alone, (SHORT, LONG)[batch])
    trainer = make_trainer(two_lengths, tmp_path / "together", small())
    for batch, recall in [*order, *order, *reversed(order)]:
        trainer.negatives.recall = recall
        assert_repeated(expected[batch, recall], take_step(trainer, (SHORT, LONG)[batch]))
    assert len(trainer.scorer.encoder.graphs) == 2


@pytest.mark.cuda
@needs_gpu
def test_a_captured_run_in_float16_goes_as_an_eager_one(shards, tmp_path):
    for mode in ("never", "auto"):
        settings = small(f"train.cuda_graphs={mode}", "train.precision=fp16")
        train_run(shards, tmp_path / mode, settings, GPU)
    eager, captured = losses(tmp_path / "never"), losses(tmp_path / "auto")
    assert captured[:3] == pytest.approx(eager[:3], rel=0.01)
    assert captured[-3:] == pytest.approx(eager[-3:], rel=0.15)


@pytest.mark.cuda
@needs_gpu
def test_dropout_differs_from_replay_to_replay(shards, tmp_path):
    trainer = make_trainer(shards, tmp_path, small("model.graph.dropout=0.5"))
    assert len({take_step(trainer, SHORT)[0] for _ in range(4)}) == 4
