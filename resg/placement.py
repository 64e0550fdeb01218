"""Batches to a device and figures back, without making the host wait for the GPU."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

Item = TypeVar("Item")
Batch = TypeVar("Batch")


def placed(batch: Batch, device: torch.device) -> Batch:
    """The same dataclass with all its tensors, those of dataclasses in it too, on a device."""
    return _changed(batch, lambda tensor: sent(tensor, device))


def load_ahead(
    load: Callable[[Item], Batch], items: Iterable[Item], device: torch.device
) -> Iterator[Batch]:
    """Load each batch while the one before it is worked on.

    On a GPU a thread loads, with a CUDA stream of its own: where loading must wait for the GPU (how
    many edges are there?), it does not wait for the training step that is under way.

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
                yield _taken_over(*done.result(), device)
        if under_way is not None:
            yield _taken_over(*under_way.result(), device)


class HostCopy:
    """Figures on their way to the host: the copy starts now, `values` waits for it alone."""

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


def _taken_over(batch: Batch, event: torch.cuda.Event, device: torch.device) -> Batch:
    """Use a batch on the device's current stream, which waits until it is made.

    Its memory came from the loading stream, which would else take it back for another batch as soon
    as Python lets go of this one, while the training step still reads it.
    """
    stream = torch.cuda.current_stream(device)
    stream.wait_event(event)

    def recorded(tensor: Tensor) -> Tensor:
        if tensor.is_cuda:
            tensor.record_stream(stream)
        return tensor

    return _changed(batch, recorded)


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on a device; the host does not wait until it is there.

    The pinned copy may go at once: PyTorch gives its memory to nobody before the transfer is done.
    """
    if device.type == "cuda" and not tensor.is_cuda:
        tensor = tensor.pin_memory()  # a copy from other memory makes the host wait
    return tensor.to(device, non_blocking=True)


def _changed(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if not is_dataclass(value) or isinstance(value, type):
        return value
    parts = {field.name: _changed(getattr(value, field.name), change) for field in fields(value)}
    return replace(value, **parts)
