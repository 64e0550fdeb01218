"""Faster R-CNN models of torchvision: the road for those who cannot build detectron2.

`torchvision:MODEL` runs a published model of `torchvision.models.detection`,
`torchvision:MODEL,FILE` the same network with weights of your own. `FasterRCNNProposals` also takes
a `FasterRCNN` that you built yourself, with any backbone. The feature of a region is the output of
the box head.
"""

import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.detectors.base import DetectorInfo
from pipeline.detectors.checkpoints import Weights, fit_weights, read_weights
from pipeline.detectors.devices import choose_device
from pipeline.detectors.resizing import ResizePolicy
from pipeline.detectors.torch_backend import (
    Proposals,
    TorchNetwork,
    best_class_columns,
    clip_boxes,
)
from pipeline.errors import DataError, MissingExtraError, SettingsError

UNUSED = "N/A"
"""How torchvision names the eleven category numbers of COCO that no object has."""

CLASS_WEIGHT = "roi_heads.box_predictor.cls_score.weight"


class FasterRCNNProposals(nn.Module):
    """A torchvision Faster R-CNN from pixels to proposals; a `ProposalNetwork`.

    Its backbone, region proposals and box head run as torchvision runs them, padding to a multiple
    of `transform.size_divisible` included; its resizing and its own selection do not.

    Args:
        model: a `torchvision.models.detection.FasterRCNN`, with background as class 0.
        classes: the classes that become columns, as numbers of the model; all but the background
            without.
    """

    kept: Tensor
    mean_311: Tensor
    std_311: Tensor

    def __init__(self, model: Any, classes: Sequence[int] | None = None) -> None:
        super().__init__()
        self.model = model.eval()
        num_classes = model.roi_heads.box_predictor.cls_score.out_features
        kept = torch.tensor(range(1, num_classes) if classes is None else classes)
        mean, std = (
            torch.tensor(values).reshape(3, 1, 1)
            for values in (model.transform.image_mean, model.transform.image_std)
        )
        self.register_buffer("kept", kept, persistent=False)
        self.register_buffer("mean_311", mean, persistent=False)
        self.register_buffer("std_311", std, persistent=False)
        with torch.no_grad():
            # RoIAlign derives the strides of the maps from the first image that it sees, wrongly
            # from one of a few pixels
            self(torch.zeros(1, 3, 256, 256))

    def forward(self, images_B3HW: Tensor) -> Proposals:
        """See `ProposalNetwork`."""
        from torchvision.models.detection.image_list import ImageList

        model, heads = self.model, self.model.roi_heads
        padded = self._normalised(images_B3HW)
        sizes: Any = [images_B3HW.shape[-2:]] * len(images_B3HW)
        maps = model.backbone(padded)
        if isinstance(maps, Tensor):
            maps = {"0": maps}
        proposals, _ = model.rpn(ImageList(padded, sizes), maps)
        features_ND = heads.box_head(heads.box_roi_pool(maps, proposals, sizes))
        logits, deltas = heads.box_predictor(features_ND)
        scores_NC = logits.float().softmax(-1).index_select(1, self.kept)
        boxes_N4 = heads.box_coder.decode_single(
            self._regression(deltas.float(), scores_NC), torch.cat(proposals)
        )
        counts = [len(boxes) for boxes in proposals]
        return Proposals(clip_boxes(boxes_N4, images_B3HW), scores_NC, features_ND, None, counts)

    def _normalised(self, images_B3HW: Tensor) -> Tensor:
        normalised = (images_B3HW / 255 - self.mean_311) / self.std_311
        divisor = self.model.transform.size_divisible
        height, width = images_B3HW.shape[-2:]
        return functional.pad(normalised, (0, -width % divisor, 0, -height % divisor))

    def _regression(self, deltas_NK: Tensor, scores_NC: Tensor) -> Tensor:
        """`[N, 4]` of the best class, or of all where the network does not tell classes apart."""
        if deltas_NK.shape[1] == 4:
            return deltas_NK
        columns = self.kept[:, None] * 4 + torch.arange(4, device=deltas_NK.device)
        return best_class_columns(deltas_NK.index_select(1, columns.flatten()), scores_NC)


def open_torchvision(
    name: str, weights: Path | None = None, *, device: str = "cpu", threads: int = 1
) -> TorchNetwork:
    """A Faster R-CNN of torchvision.

    Args:
        name: of a model builder, such as `fasterrcnn_resnet50_fpn_v2`.
        weights: a state dict for it; its classes are named by a `classes.txt` beside it, one name
            per line without the background. Without a file torchvision fetches and keeps its own.
        device: auto, cpu, cuda or cuda:N.
        threads: that torch may use on the CPU.

    Raises:
        MissingExtraError: no torchvision.
        SettingsError: no such model, or CUDA is absent.
        DataError: the weights cannot be fetched, are damaged or do not fit.
    """
    published = published_weights(name)
    device = choose_device(device, "torch")
    if weights is None:
        state = _fetched(name, published)
        categories = list(published.meta["categories"])
    else:
        state = read_weights(weights)
        categories = _categories(state, weights, published)
    model = build_model(name, len(categories))
    _take_frozen_norms(model, name, state)
    fit_weights(model, state, weights or Path(published.url))
    kept = [k for k, category in enumerate(categories) if k > 0 and category != UNUSED]
    info = model_info(model, [categories[k] for k in kept])
    is_coco = categories == published.meta["categories"]
    info = info.model_copy(update={"name": name, "domain": "photographs (COCO)" if is_coco else ""})
    return TorchNetwork(FasterRCNNProposals(model, kept), info, device=device, threads=threads)


def build_model(name: str, num_classes: int) -> Any:
    """A model of torchvision with random weights.

    Args:
        name: of a model builder.
        num_classes: with background.
    """
    from torchvision.models import get_model

    return get_model(name, weights=None, weights_backbone=None, num_classes=num_classes).eval()


def model_info(model: Any, classes: Sequence[str]) -> DetectorInfo:
    """The metadata of a torchvision Faster R-CNN; name and domain are left to the caller.

    Args:
        model: a `FasterRCNN`.
        classes: names of the columns that `FasterRCNNProposals` keeps.
    """
    transform = model.transform
    return DetectorInfo(
        classes=tuple(classes),
        feature_width=model.roi_heads.box_predictor.cls_score.in_features,
        resize=ResizePolicy(
            short_side=transform.min_size[-1], max_side=transform.max_size, filter="torchvision"
        ),
        channels="RGB",
        pixel_mean=tuple(255 * value for value in transform.image_mean),
        pixel_std=tuple(255 * value for value in transform.image_std),
        dialect="torchvision",
    )


def require_torchvision() -> None:
    """Make sure that torchvision is there.

    Raises:
        MissingExtraError: it names the extra and the ways without torchvision.
    """
    if importlib.util.find_spec("torchvision") is None:
        raise MissingExtraError(
            "torchvision",
            "torchvision",
            "Without it, use the embedded detector (--detector photos) or a detector exported to "
            "ONNX (--detector onnx:FILE).",
        )


def published_weights(name: str) -> Any:
    """Torchvision's own weights of a model, as its `WeightsEnum` describes them; not fetched.

    Raises:
        MissingExtraError: no torchvision.
        SettingsError: torchvision has no such Faster R-CNN.
    """
    require_torchvision()
    from torchvision.models import detection, get_model_weights, list_models

    known = [model for model in list_models(module=detection) if model.startswith("fasterrcnn_")]
    if name not in known:
        raise SettingsError(
            f"expected a Faster R-CNN of torchvision, one of {', '.join(known)}; got {name!r}."
        )
    return get_model_weights(name).DEFAULT


def _fetched(name: str, published: Any) -> Weights:
    try:
        return published.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"the weights of {name} could not be downloaded from {published.url}: {error}\n"
            f"Download them in another way and give the file: torchvision:{name},WEIGHTS.pth"
        ) from error


def _categories(state: Weights, file: Path, published: Any) -> list[str]:
    """Names of the classes of a file, background first; numbers where nothing names them."""
    if CLASS_WEIGHT not in state:
        raise DataError(
            f"{file} holds no Faster R-CNN of torchvision: it has no {CLASS_WEIGHT}; its keys "
            f"begin with {', '.join(sorted(state)[:3])}. Give a file that torch.save wrote of "
            "model.state_dict()."
        )
    count = state[CLASS_WEIGHT].shape[0] - 1
    names = file.with_name("classes.txt")
    if names.is_file():
        lines = names.read_text(encoding="utf-8-sig").splitlines()
        listed = [line.strip() for line in lines if line.strip()]
        if len(listed) != count:
            raise DataError(
                f"{names} names {len(listed)} classes, {file.name} beside it has {count} without "
                "the background; make them agree."
            )
        return ["background", *listed]
    if count == len(published.meta["categories"]) - 1:
        return list(published.meta["categories"])
    return [str(k) for k in range(count + 1)]


def _take_frozen_norms(model: Any, name: str, state: Weights) -> None:
    """Give norms the epsilon that the weights were trained with.

    torchvision's first ResNet-50 model was trained with frozen norms without epsilon, and its
    builder sets it to 0 with the published weights alone. Such files hold no counts of batches.
    """
    is_frozen = not any(key.endswith("num_batches_tracked") for key in state)
    if name == "fasterrcnn_resnet50_fpn" and is_frozen:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = 0.0
