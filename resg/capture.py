"""A training step's launches, captured once as CUDA graphs and repeated for batches of one shape.

A step of a hundred pairs launches 1,500 small kernels, and to launch one takes the host longer than
to run it takes the GPU. A CUDA graph launches all of its kernels at once. It repeats them on the
same memory, so inputs are copied into the graph's own, and what it gives lasts only until the next.

`torch.cuda.make_graphed_callables` does the same. It keeps the outputs' autograd graph, and with it
the nodes that add up gradients of weights on the stream of the capture: every later step would then
wait for that stream once a weight. And the thread that loads batches could break its captures.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from resg.config import RunSettings
from resg.data import CaptionBatch, ImageBatch
from resg.distributed import Processes
from resg.models.matching import Encoded
from resg.models.resg import Matcher
from resg.placement import changed, tensors_of

WARMUP = 3  # runs before a capture: kernels are compiled, libraries choose theirs
MOST_GRAPHS = 4  # of the encoders; each keeps features and gradients of its own

Function = Callable[..., tuple[Tensor, ...]]
Side = TypeVar("Side", ImageBatch, CaptionBatch)


class Pool:
    """Memory that graphs share: each may use again what another has freed.

    What a pass leaves for its gradient's pass therefore lasts until a graph of the pool runs again.
    """

    def __init__(self) -> None:
        self.handle = torch.cuda.graph_pool_handle()
        self.last_run: object | None = None  # whose gradient can be taken


class CapturedFunction:
    """A function of tensors and its gradient as two CUDA graphs.

    Args:
        function: launches the same kernels whatever the values; its outputs are float32 tensors.
        inputs: of the first call. The graphs read copies of them, in memory that no other graph
            and no caller has.
        weights: others that it is differentiable in, which stay where they are.
        pool: where outputs, gradients and what lies between them are.
    """

    def __init__(
        self,
        function: Function,
        inputs: Sequence[Tensor],
        weights: Sequence[nn.Parameter],
        pool: Pool,
    ) -> None:
        self.inputs = [t.detach().clone().requires_grad_(t.requires_grad) for t in inputs]
        self.weights = tuple(weights)
        self.pool = pool
        variables = [t for t in (*self.inputs, *weights) if t.requires_grad]
        self._warm_up(function, variables)
        self.ahead, self.back = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        # other threads may go on, unlike with the default
        with torch.cuda.graph(self.ahead, pool.handle, capture_error_mode="thread_local"):
            outputs = function(*self.inputs)
        self.output_gradients = [torch.zeros_like(out) for out in outputs]
        with torch.cuda.graph(self.back, pool.handle, capture_error_mode="thread_local"):
            found = iter(_gradients(outputs, variables, self.output_gradients))
        self.gradients = [
            next(found) if t.requires_grad else None for t in (*self.inputs, *weights)
        ]
        self.differentiable = [out.requires_grad for out in outputs]
        self.outputs = [out.detach() for out in outputs]

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The outputs, differentiable, for other inputs of the same shapes."""
        return Replay.apply(self, *inputs, *self.weights)  # type: ignore[return-value] - `apply` is untyped

    def _warm_up(self, function: Function, variables: Sequence[Tensor]) -> None:
        """Run both passes beside the current stream, as the capture will.

        The autograd graphs must be gone by then: the nodes that take the gradients of `variables`
        live as long, and would bring this stream into the capture.
        """
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARMUP):
                outputs = function(*self.inputs)
                _gradients(outputs, variables, [torch.zeros_like(out) for out in outputs])
        torch.cuda.current_stream().wait_stream(stream)

    def take(self, inputs: Sequence[Tensor]) -> None:
        """Copy inputs to where the graphs read them, tensors of a type together."""
        for dtype in {own.dtype for own in self.inputs}:
            of_type = [
                pair for pair in zip(self.inputs, inputs, strict=True) if pair[0].dtype == dtype
            ]
            torch._foreach_copy_(*zip(*of_type, strict=True))  # type: ignore[attr-defined] - not in the stubs


class Replay(torch.autograd.Function):
    """One run of a captured function."""

    @staticmethod
    def forward(ctx: Any, captured: CapturedFunction, *tensors: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override] - torch declares *args
        """Its outputs; they are overwritten when a graph of the pool runs again."""
        captured.take(tensors[: len(captured.inputs)])
        captured.ahead.replay()
        ctx.captured, ctx.run = captured, object()
        captured.pool.last_run = ctx.run
        outputs = tuple(out.detach() for out in captured.outputs)
        figures = zip(outputs, captured.differentiable, strict=True)
        ctx.mark_non_differentiable(*(out for out, is_on in figures if not is_on))
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override] - torch declares *args
        """The gradients of inputs and weights; they are overwritten, too.

        Raises:
            RuntimeError: what the run left for it is overwritten already.
        """
        captured: CapturedFunction = ctx.captured
        if captured.pool.last_run is not ctx.run:
            raise RuntimeError(
                "expected the gradient of a captured function right after its run, and once; got "
                "it after another run, or again. Set train.cuda_graphs=never for other orders."
            )
        captured.pool.last_run = None
        torch._foreach_copy_(captured.output_gradients, gradients)  # type: ignore[attr-defined] - not in the stubs
        captured.back.replay()
        return (None, *(g if g is None else g.detach() for g in captured.gradients))


def _gradients(
    outputs: Sequence[Tensor], variables: Sequence[Tensor], gradients: Sequence[Tensor]
) -> Sequence[Tensor]:
    pairs = [pair for pair in zip(outputs, gradients, strict=True) if pair[0].requires_grad]
    return torch.autograd.grad(
        [out for out, _ in pairs], variables, [grad for _, grad in pairs], allow_unused=True
    )


class CapturedEncoders:
    """The two encoders of a matcher, captured for each shape of batches that comes.

    The captions are encoded on a stream of their own: the kernels of a GRU's steps fill a small
    part of a large GPU.

    Args:
        matcher: in training.
        autocast: its type.
    """

    def __init__(self, matcher: Matcher, autocast: torch.dtype) -> None:
        self.matcher, self.autocast = matcher, autocast
        not_here = {id(weight) for weight in matcher.similarity.parameters()}
        self.weights = [w for w in matcher.parameters() if id(w) not in not_here]
        self.graphs: dict[tuple[torch.Size, ...], CapturedFunction] = {}
        self.pool = Pool()
        self.beside = torch.cuda.Stream()

    def __call__(self, images: ImageBatch, captions: CaptionBatch) -> tuple[Encoded, Encoded]:
        """Both sides of a batch that is filled up; the first of its shape is captured."""
        sides = _bare(images), _bare(captions)
        tensors = [tensor for side in sides for tensor in tensors_of(side)]
        shape = tuple(tensor.shape for tensor in tensors)
        if shape not in self.graphs:
            if len(self.graphs) == MOST_GRAPHS:
                return self.matcher(images, captions)
            encode = partial(self._encode, *sides)
            self.graphs[shape] = CapturedFunction(encode, tensors, self.weights, self.pool)
        pooled, regions, also_pooled, words = self.graphs[shape](*tensors)
        return _encoded(images, pooled, regions), _encoded(captions, also_pooled, words)

    def _encode(
        self, images: ImageBatch, captions: CaptionBatch, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        arrived = iter(tensors)
        images, captions = (changed(side, lambda _: next(arrived)) for side in (images, captions))
        stream = torch.cuda.current_stream()
        self.beside.wait_stream(stream)
        # casts that autocast remembers would lie in the memory of whoever asked first
        with torch.autocast("cuda", self.autocast, cache_enabled=False):
            with torch.cuda.stream(self.beside):
                words = self.matcher.encode_captions(captions)
            regions = self.matcher.encode_images(images)
        stream.wait_stream(self.beside)
        return regions.embeddings, regions.nodes, words.embeddings, words.nodes


def _bare(side: Side) -> Side:
    """A side of a batch without the numbers of its rows that do not fill up, which vary."""
    return replace(side, layout=replace(side.layout, valid_rows=None))


def _encoded(side: ImageBatch | CaptionBatch, embeddings: Tensor, nodes: Tensor) -> Encoded:
    layout = side.layout
    return Encoded(embeddings, layout.valid(nodes), torch.from_numpy(layout.valid_ptr))


class CapturedLoss:
    """A loss of scores and embeddings, captured for each shape, with and without hardest negatives.

    Args:
        loss: `(scores, images' embeddings, captions' embeddings, hardest)` to the loss and figures.
    """

    def __init__(self, loss: Function) -> None:
        self.loss = loss
        self.graphs: dict[tuple[bool, torch.Size], CapturedFunction] = {}
        self.pool = Pool()  # its own: it runs between the encoders' two passes

    def __call__(
        self, scores_IC: Tensor, images_Id: Tensor, captions_Cd: Tensor, hardest: bool
    ) -> tuple[Tensor, ...]:
        """What `loss` gives."""
        inputs = scores_IC, images_Id, captions_Cd
        kind = hardest, scores_IC.shape
        if kind not in self.graphs:
            compute = partial(self.loss, hardest=hardest)
            self.graphs[kind] = CapturedFunction(compute, inputs, (), self.pool)
        return self.graphs[kind](*inputs)


def can_capture(
    settings: RunSettings, device: torch.device, processes: Processes, autocast: torch.dtype
) -> bool:
    """Whether a run's steps can be captured, and may be."""
    train, model = settings.train, settings.model
    return (
        train.cuda_graphs == "auto"
        and device.type == "cuda"
        and processes.count == 1
        and autocast is not torch.float32
        and train.accumulate == 1
        and model.text.encoder == "gru"
        and "predicates" not in model.visual_graph.edges
    )
