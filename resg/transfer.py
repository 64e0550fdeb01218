"""Copies of batches to a device and of figures back, without making the host wait for the GPU."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

Item = TypeVar("Item")
Batch = TypeVar("Batch")

ALIGNMENT = 16  # bytes, of each tensor in a transfer of many


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The same dataclass with its tensors, and those of nested dataclasses, on a device.

    Tensors go to a GPU together, in one transfer.
    """
    if device.type != "cuda":
        return map_tensors(batch, lambda tensor: tensor.to(device))
    on_host = [tensor for tensor in tensors_of(batch) if not tensor.is_cuda]
    arrived = iter(copy_together(on_host, device))
    return map_tensors(batch, lambda tensor: tensor if tensor.is_cuda else next(arrived))


def prefetch(
    load: Callable[[Item], Batch], items: Iterable[Item], device: torch.device
) -> Iterator[Batch]:
    """Load each batch while the one before it is trained on.

    On a GPU a thread loads, with a CUDA stream of its own: where loading must wait for the GPU (how
    many edges are there?), it does not wait for the running training step.

    Args:
        load: makes a batch, a dataclass of tensors; it must not draw from PyTorch's global random
            numbers, which the training step draws from at the same time.
        items: what batches are made of.
        device: where batches are used.
    """
    if device.type != "cuda":
        yield from map(load, items)
        return
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))  # what batches are made of is there

    def load_on_stream(item: Item) -> tuple[Batch, torch.cuda.Event]:
        made = torch.cuda.Event()
        with torch.cuda.device(device), torch.cuda.stream(stream):
            batch = load(item)
            made.record(stream)
        return batch, made

    with ThreadPoolExecutor(1, thread_name_prefix="loader") as pool:
        under_way: Future[tuple[Batch, torch.cuda.Event]] | None = None
        for item in items:
            done, under_way = under_way, pool.submit(load_on_stream, item)
            if done is not None:
                yield _hand_over(*done.result(), device)
        if under_way is not None:
            yield _hand_over(*under_way.result(), device)


class HostCopy:
    """An asynchronous copy of figures to the host: it starts now, `values` waits for it alone."""

    def __init__(self, figures: Tensor) -> None:
        self.copy = figures.detach().to("cpu", non_blocking=True)
        self.event = None
        if figures.is_cuda:
            self.event = torch.cuda.current_stream(figures.device).record_event()

    def values(self) -> list[float]:
        """The figures."""
        if self.event is not None:
            self.event.synchronize()
        return self.copy.tolist()


def _hand_over(batch: Batch, event: torch.cuda.Event, device: torch.device) -> Batch:
    """Hand a batch to the device's current stream, which waits until it is made.

    Its memory belongs to the loading stream, which would otherwise reuse it for another batch as
    soon as Python frees this one, while the training step still reads it.
    """
    stream = torch.cuda.current_stream(device)
    stream.wait_event(event)

    def recorded(tensor: Tensor) -> Tensor:
        if tensor.is_cuda:
            tensor.record_stream(stream)
        return tensor

    return map_tensors(batch, recorded)


def copy_async(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device; the host does not wait for the copy.

    The pinned copy may be freed at once: PyTorch reuses its memory only after the copy.
    """
    if device.type == "cuda" and not tensor.is_cuda:
        tensor = tensor.pin_memory()  # a copy from other memory makes the host wait
    return tensor.to(device, non_blocking=True)


def copy_together(tensors: list[Tensor], device: torch.device) -> list[Tensor]:
    """Copy tensors of the host to a device: to a GPU in one transfer, each aligned to 16 bytes.

    The host does not wait for the copy. On a GPU they share one piece of memory.
    """
    if device.type != "cuda":
        return [tensor.to(device) for tensor in tensors]
    lengths = [tensor.numel() * tensor.element_size() for tensor in tensors]
    starts = [0]
    for length in lengths:
        starts.append(starts[-1] + -(-length // ALIGNMENT) * ALIGNMENT)
    pinned = torch.empty(starts[-1], dtype=torch.uint8, pin_memory=True)
    parts = [pinned[start : start + size] for start, size in zip(starts, lengths, strict=False)]
    for part, tensor in zip(parts, tensors, strict=True):
        part.view(tensor.dtype).view(tensor.shape).copy_(tensor)
    there = pinned.to(device, non_blocking=True)
    return [
        there[start : start + size].view(tensor.dtype).view(tensor.shape)
        for start, size, tensor in zip(starts, lengths, tensors, strict=False)
    ]


def tensors_of(value: Any) -> list[Tensor]:
    """All tensors of a dataclass and of nested ones, in the order of `map_tensors`."""
    found: list[Tensor] = []

    def kept(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    map_tensors(value, kept)
    return found


def map_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same dataclass with a function applied to every tensor, in nested dataclasses too."""
    if isinstance(value, Tensor):
        return change(value)
    if not is_dataclass(value) or isinstance(value, type):
        return value
    parts = {field.name: map_tensors(getattr(value, field.name), change) for field in fields(value)}
    return replace(value, **parts)
