"""Any Faster R-CNN of detectron2 as a network for regions: C4 and FPN.

The feature of a region is what the box predictor sees. Needs detectron2.
"""

import importlib
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.detectors.base import DetectorInfo, SelectionDefaults
from pipeline.detectors.detectron2.configuration import read_config, require_detectron2
from pipeline.detectors.devices import choose_device
from pipeline.detectors.resizing import ResizePolicy
from pipeline.detectors.torch_backend import (
    Proposals,
    TorchNetwork,
    best_class_columns,
    clip_boxes,
)
from pipeline.errors import DataError, SettingsError


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
        """Fuse what cuDNN can fuse, and use the memory layout that tensor cores need.

        Else cuDNN turns every map to channels last and back. For tensor cores alone: without them
        channels last in single precision is many times slower.
        """
        from pipeline.detectors.detectron2.fusing import fuse_blocks

        fuse_blocks(self.model)
        self.layout = torch.channels_last
        self.model.to(memory_format=torch.channels_last)

    def forward(self, images_B3HW: Tensor) -> Proposals:
        """See `ProposalNetwork`."""
        with warnings.catch_warnings():
            # of torch.meshgrid, which detectron2 calls without an argument that is to come
            warnings.filterwarnings("ignore", message="torch.meshgrid")
            return self._proposals(images_B3HW)

    def _proposals(self, images_B3HW: Tensor) -> Proposals:
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
        boxes_N4 = torch.cat([p.proposal_boxes.tensor for p in proposals])
        if self.is_refined:
            if deltas.shape[1] > 4:
                deltas = best_class_columns(deltas, scores_NC)
            boxes_N4 = heads.box_predictor.box2box_transform.apply_deltas(deltas, boxes_N4)
            boxes_N4 = clip_boxes(boxes_N4, images_B3HW)
        attribute_scores = None
        if self.attributes is not None:
            # the class that attributes are given may be the background, as in Caffe
            attribute_logits = self.attributes(features_ND, logits.argmax(1))
            attribute_scores = self.attributes.probabilities(attribute_logits)
        counts = [len(p) for p in proposals]
        return Proposals(boxes_N4, scores_NC, features_ND, attribute_scores, counts)

    def _features(self, maps: dict[str, Tensor], boxes: list[Any]) -> Tensor:
        heads = self.model.roi_heads
        if self.is_c4:
            pooled = heads.pooler([maps[name] for name in heads.in_features], boxes)
            return heads.res5(pooled.contiguous(memory_format=self.layout)).mean(dim=[2, 3])
        pooled = heads.box_pooler([maps[name] for name in heads.box_in_features], boxes)
        return heads.box_head(pooled).flatten(1)


def detectron2_network(
    model: nn.Module, info: DetectorInfo, *, device: str = "cpu", threads: int = 1
) -> TorchNetwork:
    """A detectron2 model, with its weights, ready to run.

    Raises:
        SettingsError: not a Faster R-CNN.
    """
    heads = RegionHeads(model, info.boxes)
    network = TorchNetwork(heads, info, device=device, threads=threads)
    if network.device.type == "cuda" and torch.cuda.get_device_capability(network.device) >= (8, 0):
        heads.arrange_for_gpu()
    return network


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


def open_zoo(name: str, *, device: str = "cpu", threads: int = 1) -> TorchNetwork:
    """A model of detectron2's own model zoo; its weights are fetched once and kept by detectron2.

    Args:
        name: such as `COCO-Detection/faster_rcnn_R_50_C4_3x`.
        device: auto, cpu, cuda or cuda:N.
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
            f"the weights could not be downloaded from {address}: {error}\n"
            "Download them in another way and give the files: detectron2:CONFIG.yaml,WEIGHTS"
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
) -> TorchNetwork:
    """Build the model of a config and load a checkpoint into it.

    Raises:
        MissingExtraError: no detectron2.
        SettingsError: not a Faster R-CNN, or CUDA is absent.
        DataError: the checkpoint is damaged or does not fit.
    """
    require_detectron2()
    from pipeline.detectors.checkpoints import load_weights

    device = choose_device(device, "torch")
    model = build_model(config)
    load_weights(model, weights)
    info = config_info(config, feature_width(model))
    return detectron2_network(model, info, device=device, threads=threads)


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
