"""The training step as CUDA graphs: captured once for each shape of a batch, then replayed.

A step of a hundred pairs launches 1,500 small kernels, each of which takes the host longer to
launch than the GPU to run. A CUDA graph launches all of its kernels at once. It replays them on the
same memory, so inputs are copied into the graph's own, and outputs last only until the next replay.

`torch.cuda.make_graphed_callables` does the same. It keeps the outputs' autograd graph, and with it
the nodes that accumulate gradients of weights on the stream of the capture: every later step would
then wait for that stream once for each weight. And the thread that prefetches batches could break
its captures.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from resg.config import RunSettings
from resg.data.batches import CaptionBatch, ImageBatch
from resg.data.buckets import Buckets
from resg.data.splits import SplitTables
from resg.graphs.ragged import lengths
from resg.models.encoded import Encoded
from resg.models.matcher import Matcher
from resg.training.distributed import Processes
from resg.training.scorer import Loss, PairEncoder
from resg.transfer import map_tensors, tensors_of

WARMUP_RUNS = 3  # before a capture: kernels are compiled, libraries choose theirs
MAX_GRAPHS = 4  # of the encoders; each keeps features and gradients of its own

Function = Callable[..., tuple[Tensor, ...]]
Side = TypeVar("Side", ImageBatch, CaptionBatch)


class Pool:
    """Memory that graphs share: each may reuse what another has freed.

    What a forward pass keeps for its backward pass therefore lasts until a graph of the pool is
    replayed again.
    """

    def __init__(self) -> None:
        self.handle = torch.cuda.graph_pool_handle()
        self.last_run: object | None = None  # whose backward pass can follow


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
        self.forward_graph, self.backward_graph = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        # unlike with the default, other threads may use CUDA meanwhile
        with torch.cuda.graph(self.forward_graph, pool.handle, capture_error_mode="thread_local"):
            outputs = function(*self.inputs)
        self.output_gradients = [torch.zeros_like(out) for out in outputs]
        with torch.cuda.graph(self.backward_graph, pool.handle, capture_error_mode="thread_local"):
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
            for _ in range(WARMUP_RUNS):
                outputs = function(*self.inputs)
                _gradients(outputs, variables, [torch.zeros_like(out) for out in outputs])
        torch.cuda.current_stream().wait_stream(stream)

    def copy_inputs(self, inputs: Sequence[Tensor]) -> None:
        """Copy inputs to where the graphs read them, all tensors of a type at once."""
        for dtype in {own.dtype for own in self.inputs}:
            of_type = [
                pair for pair in zip(self.inputs, inputs, strict=True) if pair[0].dtype == dtype
            ]
            torch._foreach_copy_(*zip(*of_type, strict=True))  # type: ignore[attr-defined] - not in the stubs


class Replay(torch.autograd.Function):
    """One replay of a captured function."""

    @staticmethod
    def forward(ctx: Any, captured: CapturedFunction, *tensors: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override] - torch declares *args
        """Its outputs; they are overwritten when a graph of the pool is replayed again."""
        captured.copy_inputs(tensors[: len(captured.inputs)])
        captured.forward_graph.replay()
        ctx.captured, ctx.run = captured, object()
        captured.pool.last_run = ctx.run
        outputs = tuple(out.detach() for out in captured.outputs)
        figures = zip(outputs, captured.differentiable, strict=True)
        ctx.mark_non_differentiable(*(out for out, is_on in figures if not is_on))
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override] - torch declares *args
        """The gradients of inputs and weights; they are overwritten too.

        Raises:
            RuntimeError: what the forward pass kept for it is overwritten already.
        """
        captured: CapturedFunction = ctx.captured
        if captured.pool.last_run is not ctx.run:
            raise RuntimeError(
                "expected the backward pass of a captured function right after its forward pass, "
                "and once; another replay came between, or it ran already. "
                "Set train.cuda_graphs=never for other orders."
            )
        captured.pool.last_run = None
        torch._foreach_copy_(captured.output_gradients, gradients)  # type: ignore[attr-defined] - not in the stubs
        captured.backward_graph.replay()
        return (None, *(g if g is None else g.detach() for g in captured.gradients))


def _gradients(
    outputs: Sequence[Tensor], variables: Sequence[Tensor], gradients: Sequence[Tensor]
) -> Sequence[Tensor]:
    pairs = [pair for pair in zip(outputs, gradients, strict=True) if pair[0].requires_grad]
    return torch.autograd.grad(
        [out for out, _ in pairs], variables, [grad for _, grad in pairs], allow_unused=True
    )


class CapturedPairEncoder(PairEncoder):
    """A `PairEncoder` that pads batches to few shapes and replays a CUDA graph for each shape.

    Batches that fit no bucket, and shapes beyond the first `MAX_GRAPHS`, run operation by
    operation. The captions are encoded on a stream of their own: the kernels of a GRU's steps fill
    a small part of a large GPU.

    Args:
        matcher: in training.
        buckets: the shapes.
        autocast_type: of the forward pass.
    """

    def __init__(self, matcher: Matcher, buckets: Buckets, autocast_type: torch.dtype) -> None:
        super().__init__(matcher, matcher, buckets.device)
        self.buckets, self.autocast_type = buckets, autocast_type
        not_here = {id(weight) for weight in matcher.similarity.parameters()}
        self.weights = [w for w in matcher.parameters() if id(w) not in not_here]
        self.graphs: dict[tuple[torch.Size, ...], CapturedFunction] = {}

    @cached_property
    def pool(self) -> Pool:
        """Memory of all the graphs."""
        return Pool()

    @cached_property
    def caption_stream(self) -> torch.cuda.Stream:
        """Where captions are encoded beside the images."""
        return torch.cuda.Stream()

    def prepare(
        self, images: ImageBatch, captions: CaptionBatch
    ) -> tuple[ImageBatch, CaptionBatch]:
        """A batch from the tables, padded where it fits a bucket."""
        padded = self.buckets.pad(images, captions)
        return super().prepare(images, captions) if padded is None else padded

    def __call__(self, images: ImageBatch, captions: CaptionBatch) -> tuple[Encoded, Encoded]:
        """Both sides encoded, without their padding."""
        if not images.layout.is_padded:
            return super().__call__(images, captions)
        regions, words = self._encode_padded(_static(images), _static(captions))
        return regions.without_padding(images.layout), words.without_padding(captions.layout)

    def wrap_loss(self, loss: Loss) -> Loss:
        """The loss, captured too."""
        return CapturedLoss(loss, self.buckets.num_pairs)

    def _encode_padded(self, images: ImageBatch, captions: CaptionBatch) -> tuple[Encoded, Encoded]:
        """Both sides with their padding; the first batch of a shape is captured."""
        tensors = [tensor for side in (images, captions) for tensor in tensors_of(side)]
        shape = tuple(tensor.shape for tensor in tensors)
        if shape not in self.graphs:
            if len(self.graphs) == MAX_GRAPHS:
                return super().__call__(images, captions)
            encode = partial(self._encode, images, captions)
            self.graphs[shape] = CapturedFunction(encode, tensors, self.weights, self.pool)
        pooled, regions, pooled_words, words = self.graphs[shape](*tensors)
        return (
            Encoded(pooled, regions, torch.from_numpy(images.layout.host_ptr)),
            Encoded(pooled_words, words, torch.from_numpy(captions.layout.host_ptr)),
        )

    def _encode(
        self, images: ImageBatch, captions: CaptionBatch, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        given = iter(tensors)
        images, captions = (map_tensors(side, lambda _: next(given)) for side in (images, captions))
        stream = torch.cuda.current_stream()
        self.caption_stream.wait_stream(stream)
        # casts that autocast remembers would lie in the memory of whoever asked first
        with torch.autocast("cuda", self.autocast_type, cache_enabled=False):
            with torch.cuda.stream(self.caption_stream):
                words = self.matcher.encode_captions(captions)
            regions = self.matcher.encode_images(images)
        stream.wait_stream(self.caption_stream)
        return regions.embeddings, regions.nodes, words.embeddings, words.nodes


def _static(side: Side) -> Side:
    """A side of a padded batch without the indices of its valid rows, whose number varies."""
    return replace(side, layout=replace(side.layout, valid_rows=None))


class CapturedLoss:
    """The loss of batches of one size, captured.

    Args:
        loss: of scores and embeddings; batches of other sizes go to it as they are.
        num_pairs: B.
    """

    def __init__(self, loss: Loss, num_pairs: int) -> None:
        self.loss, self.num_pairs = loss, num_pairs
        self.graph: CapturedFunction | None = None

    @cached_property
    def pool(self) -> Pool:
        """Memory of the graph; not the encoders', between whose two passes the loss runs."""
        return Pool()

    def __call__(
        self,
        scores_BB: Tensor,
        images_Bd: Tensor,
        captions_Bd: Tensor,
        image_ids_B: Tensor,
        hardness: Tensor,
    ) -> tuple[Tensor, ...]:
        """What `loss` gives."""
        inputs = scores_BB, images_Bd, captions_Bd, image_ids_B, hardness
        if len(scores_BB) != self.num_pairs:
            return self.loss(*inputs)
        if self.graph is None:
            self.graph = CapturedFunction(self.loss, inputs, (), self.pool)
        return self.graph(*inputs)


def make_encoder(
    matcher: Matcher,
    model: nn.Module,
    training: SplitTables,
    settings: RunSettings,
    device: torch.device,
    processes: Processes,
    autocast_type: torch.dtype,
) -> PairEncoder:
    """What encodes training batches: with CUDA graphs where the run can have them."""
    if can_capture(settings, device, processes, autocast_type):
        num_regions, num_edges = lengths(training.images.ptr), training.captions.num_edges
        buckets = Buckets.of(settings.train.batch_size, num_regions, num_edges, device)
        if buckets is not None:
            return CapturedPairEncoder(matcher, buckets, autocast_type)
    return PairEncoder(matcher, model, device)


def can_capture(
    settings: RunSettings,
    device: torch.device,
    processes: Processes,
    autocast_type: torch.dtype,
) -> bool:
    """Whether a run's steps can be captured, and may be."""
    train, model = settings.train, settings.model
    return (
        train.cuda_graphs == "auto"
        and device.type == "cuda"
        and processes.count == 1
        and autocast_type is not torch.float32
        and train.accumulate == 1
        and model.text.encoder == "gru"
        and "predicates" not in model.visual_graph.edges
    )
