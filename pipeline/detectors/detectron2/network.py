"""Any Faster R-CNN of detectron2 as a network for regions: C4 and FPN.

The feature of a region is what the box predictor sees. Needs detectron2.
"""

import importlib
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.detectors.base import Candidates, DetectorInfo, SelectionDefaults
from pipeline.detectors.configuration import read_config, require_detectron2
from pipeline.detectors.resizing import ResizePolicy
from pipeline.errors import DataError, SettingsError

logger = logging.getLogger(__name__)

Outputs = tuple[Tensor, ...]


class RegionHeads(nn.Module):
    """A detectron2 model from pixels to what selection needs, without its own selection.

    Args:
        model: a GeneralizedRCNN whose heads are C4's or FPN's.
        boxes: `refined` or `proposals`; see `DetectorInfo`.

    Raises:
        SettingsError: a model of another kind.
    """

    layout = torch.contiguous_format
    """How pooled maps lie in memory; see `arrange_for_gpu`."""

    def __init__(self, model: nn.Module, boxes: str) -> None:
        super().__init__()
        from detectron2.modeling import GeneralizedRCNN
        from detectron2.modeling.roi_heads import (
            CascadeROIHeads,
            FastRCNNOutputLayers,
            Res5ROIHeads,
            StandardROIHeads,
        )

        heads: Any = getattr(model, "roi_heads", None)
        if (
            not isinstance(model, GeneralizedRCNN)
            or not isinstance(heads, Res5ROIHeads | StandardROIHeads)
            or isinstance(heads, CascadeROIHeads)
            or not isinstance(heads.box_predictor, FastRCNNOutputLayers)
        ):
            kind = f"{type(model).__name__} with {type(heads).__name__}"
            raise SettingsError(
                f"expected a Faster R-CNN: GeneralizedRCNN with Res5ROIHeads (C4) or "
                f"StandardROIHeads (FPN), the config makes {kind}. Use another config."
            )
        self.model: Any = model.eval()
        self.is_c4 = isinstance(heads, Res5ROIHeads)
        self.is_refined = boxes == "refined"
        self.attributes: Any = getattr(heads, "attributes", None)

    def arrange_for_gpu(self) -> None:
        """Fuse what cuDNN can fuse, and lay maps out as tensor cores want them.

        Else cuDNN turns every map to channels last and back. For tensor cores alone: without them
        channels last in single precision is many times slower.
        """
        from pipeline.detectors.fusing import fuse_blocks

        fuse_blocks(self.model)
        self.layout = torch.channels_last
        self.model.to(memory_format=torch.channels_last)

    @torch.no_grad()
    def forward(self, image_3HW: Tensor) -> Outputs:
        """What an exported file computes: boxes, class scores, features, attributes of one."""
        return self.of_batch(image_3HW[None])[0]

    def of_batch(self, images_B3HW: Tensor) -> tuple[Outputs, list[int]]:
        """The same for pictures of one size, one after the other, and how many rows each has."""
        model, heads = self.model, self.model.roi_heads
        batch = model.preprocess_image([{"image": image} for image in images_B3HW])
        maps = model.backbone(batch.tensor)
        proposals, _ = model.proposal_generator(batch, maps, None)
        features_ND = self._features(maps, [p.proposal_boxes for p in proposals])
        logits, deltas = heads.box_predictor(features_ND)
        probabilities = (
            logits.sigmoid() if heads.box_predictor.use_sigmoid_ce else logits.softmax(-1)
        )
        scores_NC = probabilities[:, :-1]
        labels_N = scores_NC.argmax(1)
        boxes_N4 = torch.cat([p.proposal_boxes.tensor for p in proposals])
        if self.is_refined:
            boxes_N4 = self._refined(boxes_N4, deltas, labels_N, proposals)
        columns = [boxes_N4, scores_NC, features_ND]
        if self.attributes is not None:
            # the class that attributes are given may be the background, as in Caffe
            told = self.attributes(features_ND, logits.argmax(1))
            columns.append(self.attributes.probabilities(told))
        return tuple(columns), [len(p) for p in proposals]

    def _features(self, maps: dict[str, Tensor], boxes: list[Any]) -> Tensor:
        heads = self.model.roi_heads
        if self.is_c4:
            pooled = heads.pooler([maps[name] for name in heads.in_features], boxes)
            return heads.res5(pooled.contiguous(memory_format=self.layout)).mean(dim=[2, 3])
        pooled = heads.box_pooler([maps[name] for name in heads.box_in_features], boxes)
        return heads.box_head(pooled).flatten(1)

    def _refined(self, boxes: Tensor, deltas: Tensor, labels: Tensor, proposals: Any) -> Tensor:
        """The regressed box of each proposal's best class, within the picture."""
        if deltas.shape[1] > 4:
            chosen = deltas.view(len(deltas), -1, 4)
            deltas = chosen.gather(1, labels[:, None, None].expand(-1, 1, 4)).squeeze(1)
        moved = self.model.roi_heads.box_predictor.box2box_transform.apply_deltas(deltas, boxes)
        height, width = proposals[0].image_size
        x = moved[:, 0::2].clamp(min=0).minimum(_scalar(width, moved))
        y = moved[:, 1::2].clamp(min=0).minimum(_scalar(height, moved))
        return torch.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], dim=1)


def _scalar(value: Any, like: Tensor) -> Tensor:
    """A picture's side: an int, or while an export traces it a tensor."""
    return torch.as_tensor(value, dtype=like.dtype, device=like.device)


class Detectron2Network:
    """A detectron2 model, opened.

    Args:
        model: with its weights.
        info: what it was made for.
        device: cpu or cuda.
        threads: that torch may use on the CPU.
    """

    is_half = False
    """Whether a GPU computes in half precision; boxes and scores stay in single."""

    def __init__(self, model: nn.Module, info: DetectorInfo, device: str, threads: int) -> None:
        self.info = info
        self.device = torch.device(device)
        self.threads = threads
        self.heads = RegionHeads(model, info.boxes).to(self.device).eval()
        if self.device.type == "cuda" and torch.cuda.get_device_capability(self.device) >= (8, 0):
            self.heads.arrange_for_gpu()
        self.most_pictures: int | None = None
        """Largest batch, once the GPU's memory turned out too small for a larger one."""

    def start(self, pictures_B3HW: NDArray[np.floating[Any]]) -> Callable[[], list[Candidates]]:
        """See `RegionNetwork`; where the GPU's memory is too small, in halves."""
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
                    "the GPU's memory is too small for %d pictures at once; going on with %d",
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
        is_cuda = self.device.type == "cuda"
        if is_cuda:  # from pinned memory, as else the copy would wait for the batch before
            images_B3HW = images_B3HW.pin_memory().to(self.device, non_blocking=True)
        precision = torch.autocast(self.device.type, torch.float16, enabled=self.is_half)
        with torch.inference_mode(), precision, warnings.catch_warnings():
            # of torch.meshgrid, which detectron2 calls without an argument that is to come
            warnings.filterwarnings("ignore", message="torch.meshgrid")
            (boxes, scores, *rows), counts = self.heads.of_batch(images_B3HW)
            columns = [boxes.float(), scores.float(), *rows]
            if not is_cuda:
                return _Running(columns, counts)
            columns = [column.to("cpu", non_blocking=True) for column in columns]
            done = torch.cuda.Event()
            done.record()
            return _Running(columns, counts, done)


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


def config_info(config: Any, feature_width: int) -> DetectorInfo:
    """What a config says of its detector; classes without names get numbers."""
    model = config.MODEL
    named = list(model.CLASSES) or _known_classes(config)
    if len(named) != model.ROI_HEADS.NUM_CLASSES:
        raise SettingsError(
            f"the config names {len(named)} classes in MODEL.CLASSES and has "
            f"MODEL.ROI_HEADS.NUM_CLASSES {model.ROI_HEADS.NUM_CLASSES}; make them agree."
        )
    short_side = config.INPUT.MIN_SIZE_TEST
    return DetectorInfo(
        classes=tuple(named),
        attributes=tuple(model.ATTRIBUTES.NAMES),
        attribute_groups=tuple(model.ATTRIBUTES.GROUPS),
        feature_width=feature_width,
        resize=ResizePolicy(
            short_side=short_side,
            max_side=config.INPUT.MAX_SIZE_TEST,
            filter=model.REGIONS.RESIZE,
        ),
        channels=config.INPUT.FORMAT,
        pixel_mean=tuple(model.PIXEL_MEAN),
        pixel_std=tuple(model.PIXEL_STD),
        boxes=model.REGIONS.BOXES,
        dialect="detectron2",
        selection=SelectionDefaults.model_validate(dict(model.REGIONS.SELECTION)),
    )


def _known_classes(config: Any) -> list[str]:
    """Names that detectron2 knows of the data set the config was trained on, or numbers."""
    from detectron2.data import MetadataCatalog

    count = config.MODEL.ROI_HEADS.NUM_CLASSES
    for dataset in config.DATASETS.TRAIN:
        named = MetadataCatalog.get(dataset).get("thing_classes", [])
        if len(named) == count:
            return list(named)
    return [str(k) for k in range(count)]


def open_zoo(name: str, *, device: str = "cpu", threads: int = 1) -> Detectron2Network:
    """A model of detectron2's own model zoo; its weights are fetched once and kept by detectron2.

    Args:
        name: such as `COCO-Detection/faster_rcnn_R_50_C4_3x`.
        device: cpu or cuda.
        threads: that torch may use on the CPU.

    Raises:
        SettingsError: the zoo has no such model.
        DataError: its weights cannot be fetched.
    """
    model_zoo = _model_zoo()
    from detectron2.utils.file_io import PathManager

    name = name.removesuffix(".yaml") + ".yaml"
    try:
        config = read_config(Path(model_zoo.get_config_file(name)))
        address = model_zoo.get_checkpoint_url(name)
    except RuntimeError as error:
        raise SettingsError(
            f"detectron2's model zoo has no {name.removesuffix('.yaml')!r} with weights; "
            "its page MODEL_ZOO.md lists the names, such as COCO-Detection/faster_rcnn_R_50_C4_3x."
        ) from error
    try:
        weights = Path(PathManager.get_local_path(address))
    except OSError as error:
        raise DataError(
            f"the weights could not be fetched from {address}: {error}\n"
            "Fetch them by other means and name them: detectron2:CONFIG.yaml,WEIGHTS"
        ) from error
    return open_detectron2(config, weights, device=device, threads=threads)


def _model_zoo() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pkg_resources, which it imports, calls itself deprecated
        try:
            return importlib.import_module("detectron2.model_zoo")
        except ModuleNotFoundError as error:
            if error.name != "pkg_resources":
                raise
            raise SettingsError(
                "detectron2's model zoo needs pkg_resources, which newer versions of setuptools "
                "lack: pip install 'setuptools<81'"
            ) from error


def open_detectron2(
    config: Any, weights: Path, *, device: str = "cpu", threads: int = 1
) -> Detectron2Network:
    """Build the model of a config and load a checkpoint into it.

    Raises:
        MissingExtraError: no detectron2.
        SettingsError: not a Faster R-CNN, or CUDA is absent.
        DataError: the checkpoint is damaged or does not fit.
    """
    require_detectron2()
    from pipeline.detectors.checkpoints import load_weights

    require_device(device)
    model = build_model(config)
    load_weights(model, weights)
    return Detectron2Network(model, config_info(config, feature_width(model)), device, threads)


def build_model(config: Any) -> Any:
    """The model of a config on the CPU, with random weights.

    Raises:
        SettingsError: detectron2 cannot build it.
    """
    from detectron2.modeling import build_model as build

    config = config.clone()
    config.MODEL.DEVICE = "cpu"
    config.MODEL.WEIGHTS = ""
    try:
        return build(config)
    except (KeyError, AssertionError, ValueError, AttributeError) as error:
        raise SettingsError(f"detectron2 cannot build this config's model: {error}") from error


def feature_width(model: Any) -> int:
    """Columns of what the box predictor sees."""
    return model.roi_heads.box_predictor.cls_score.in_features


def require_device(device: str) -> None:
    """Refuse CUDA where there is none.

    Raises:
        SettingsError: it says so.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise SettingsError("CUDA was asked for and torch sees no GPU; use --device cpu.")
