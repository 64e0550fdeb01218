"""Detectors that torch runs: the contract of their network, and the one way to run it.

A detector of detectron2, one of torchvision and one of your own differ in their `ProposalNetwork`
alone. `TorchNetwork` runs it on a CPU or GPU, `exporting.export_network` writes it as ONNX.

B images, N proposals of all of them, C classes, A attributes, D feature width.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.detectors.base import Candidates, DetectorInfo
from pipeline.detectors.devices import choose_device

logger = logging.getLogger(__name__)


class Proposals(NamedTuple):
    """What a network says of a batch: one row per proposal, those of the first image first.

    Attributes:
        boxes: `[N, 4]` corners (x0, y0, x1, y1) in pixels of the image that the network was given,
            clipped to it (`clip_boxes`). One box per proposal: a network that regresses one per
            class gives that of the most probable class (`best_class_columns`).
        class_scores: `[N, C]` probabilities, the background's column removed. Not suppressed and
            not thresholded: `selection.py` does both.
        features: `[N, D]` what the box predictor sees.
        attribute_scores: `[N, A]` probabilities, or None.
        counts: rows of each image, B numbers; nothing but `TorchNetwork` looks at them, and an
            export, which traces one image, ignores them.
    """

    boxes: Tensor
    class_scores: Tensor
    features: Tensor
    attribute_scores: Tensor | None
    counts: list[int]


class ProposalNetwork(Protocol):
    """From pixels to proposals: what a network must be in order to run and to be exported here.

    An implementation is an `nn.Module` in evaluation mode. It normalises pixels itself, runs
    backbone, region proposals and box head, and leaves selection outside.

    To be exported, no shape may become a constant while torch traces one image: take sides from
    `images.shape`, and reshape per-proposal arrays with -1 for N, never with `len(boxes)` or
    `boxes.shape[0]`. Any number of proposals may occur, 0 included.
    """

    def __call__(self, images_B3HW: Tensor) -> Proposals:
        """The proposals of images of one size.

        Args:
            images_B3HW: float32, 0 to 255, resized as `DetectorInfo.resize` says, channels in the
                order of `DetectorInfo.channels`. Any size of at least 1 x 1, without padding.
        """
        ...

    def to(self, device: torch.device) -> Any:
        """Move to a device, as `nn.Module.to`."""
        ...

    def eval(self) -> Any:
        """Switch to evaluation mode, as `nn.Module.eval`."""
        ...


def best_class_columns(regressed_NK: Tensor, class_scores_NC: Tensor) -> Tensor:
    """`[N, 4]` the four columns of each proposal's most probable class.

    Args:
        regressed_NK: `[N, 4C]` boxes or regressions of all classes, class by class.
        class_scores_NC: probabilities in the same order of classes.
    """
    # picked by column and not by a reshape, which would store N in an exported file
    first_N1 = class_scores_NC.argmax(1, keepdim=True) * 4
    return regressed_NK.gather(1, first_N1 + torch.arange(4, device=regressed_NK.device))


def clip_boxes(boxes_N4: Tensor, images_B3HW: Tensor) -> Tensor:
    """Corners moved into the images' pixels."""
    # sides are tensors while an export traces them; as plain numbers they would become constants
    height, width = (
        torch.as_tensor(side, dtype=boxes_N4.dtype, device=boxes_N4.device)
        for side in images_B3HW.shape[-2:]
    )
    x, y = boxes_N4[:, 0::2].clamp(min=0), boxes_N4[:, 1::2].clamp(min=0)
    x, y = x.minimum(width), y.minimum(height)
    return torch.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], dim=1)


class TorchNetwork:
    """A `base.RegionNetwork` that torch runs.

    Args:
        module: the network.
        info: what it was made for.
        device: auto, cpu, cuda or cuda:N.
        threads: that torch may use on the CPU.

    Raises:
        SettingsError: an absent device.
    """

    is_half = False
    """Whether a GPU computes in half precision; boxes and scores stay in single."""

    def __init__(
        self, module: ProposalNetwork, info: DetectorInfo, *, device: str = "cpu", threads: int = 1
    ) -> None:
        self.info = info
        self.device = torch.device(choose_device(device, "torch"))
        self.threads = threads
        self.module = module
        self.module.to(self.device)
        self.module.eval()
        self.most_pictures: int | None = None
        """Largest batch, once the GPU's memory turned out too small for a larger one."""

    def start(self, pictures_B3HW: NDArray[np.floating[Any]]) -> Callable[[], list[Candidates]]:
        """See `base.RegionNetwork`; splits the batch where the GPU's memory is too small."""
        images = torch.from_numpy(pictures_B3HW)
        if self.device.type == "cpu" and torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)
        started: list[_Running] = []
        done = 0
        while done < len(images):
            part = images[done : done + (self.most_pictures or len(images))]
            running = self._try(part)
            if running is None:
                self.most_pictures = len(part) // 2
                logger.warning(
                    "the GPU's memory is too small for a batch of %d pictures; continuing with %d",
                    len(part),
                    self.most_pictures,
                )
                torch.cuda.empty_cache()
                continue
            started.append(running)
            done += len(part)
        return lambda: [candidates for running in started for candidates in running.wait()]

    def _try(self, images_B3HW: Tensor) -> "_Running | None":
        """Start the network; None where the memory is too small for so many pictures."""
        try:
            return self._run(images_B3HW)
        except torch.OutOfMemoryError:
            if len(images_B3HW) == 1:
                raise
            return None

    def _run(self, images_B3HW: Tensor) -> "_Running":
        if self.device.type == "cpu":
            return _Running(*self._columns(images_B3HW))
        with torch.cuda.device(self.device):  # streams and events belong to the current one
            # from pinned memory, as else the copy would wait for the batch before
            images_B3HW = images_B3HW.pin_memory().to(self.device, non_blocking=True)
            columns, counts = self._columns(images_B3HW)
            columns = [column.to("cpu", non_blocking=True) for column in columns]
            done = torch.cuda.Event()
            done.record()
            return _Running(columns, counts, done)

    def _columns(self, images_B3HW: Tensor) -> tuple[list[Tensor], list[int]]:
        """What the network says of images on its device, and the proposals of each image."""
        precision = torch.autocast(self.device.type, torch.float16, enabled=self.is_half)
        with torch.inference_mode(), precision:
            found = self.module(images_B3HW)
            columns = [found.boxes.float(), found.class_scores.float(), found.features]
            if found.attribute_scores is not None:
                columns.append(found.attribute_scores)
            return columns, found.counts


@dataclass(frozen=True)
class _Running:
    """A batch that a GPU may still work on; its columns are on their way to the CPU."""

    columns: list[Tensor]
    counts: list[int]
    done: torch.cuda.Event | None = None

    def wait(self) -> list[Candidates]:
        if self.done is not None:
            self.done.synchronize()
        starts = np.cumsum(self.counts)[:-1]
        split = [np.split(column.numpy(), starts) for column in self.columns]
        return [Candidates(*rows) for rows in zip(*split, strict=True)]
