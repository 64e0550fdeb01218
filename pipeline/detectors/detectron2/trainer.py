"""detectron2's trainer with our pictures, attributes and measures. Needs detectron2."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data import (
    DatasetCatalog,
    MetadataCatalog,
    build_detection_test_loader,
    build_detection_train_loader,
)
from detectron2.data import detection_utils as du
from detectron2.data import transforms as T
from detectron2.engine import DefaultTrainer
from detectron2.evaluation import COCOEvaluator, DatasetEvaluator, DatasetEvaluators
from detectron2.solver import get_default_optimizer_params
from detectron2.solver.build import maybe_add_gradient_clipping
from detectron2.structures import Boxes, pairwise_iou
from detectron2.utils import comm
from detectron2.utils.events import CommonMetricPrinter, JSONWriter

from pipeline.detectors.instances import Instances
from pipeline.images import load_image

Record = dict[str, Any]


def register_split(name: str, instances: Instances) -> None:
    """Register pictures with detectron2 under a name, in place of those that had it before."""
    if name in DatasetCatalog:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    DatasetCatalog.register(name, lambda: [dict(record) for record in instances.records])
    MetadataCatalog.get(name).set(
        thing_classes=list(instances.classes),
        attribute_classes=list(instances.attributes),
        attribute_groups=list(instances.groups),
    )


class AttributeMapper:
    """Reads a picture, resizes it, mirrors it in training, and adds `gt_attributes` `[N, A]`."""

    def __init__(self, config: Any, is_train: bool) -> None:
        self.augmentations = T.AugmentationList(du.build_augmentation(config, is_train))
        self.is_train = is_train
        self.image_format = config.INPUT.FORMAT
        self.num_attributes = len(config.MODEL.ATTRIBUTES.NAMES)

    def __call__(self, record: Record) -> Record:
        """The record with `image` and, in training, `instances`."""
        record = dict(record)
        image = load_image(Path(record["file_name"]))
        if self.image_format == "BGR":
            image = image[:, :, ::-1]
        prepared = T.AugInput(image)
        transforms = self.augmentations(prepared)
        shape = prepared.image.shape[:2]
        pixels = np.ascontiguousarray(prepared.image.transpose(2, 0, 1))
        record["image"] = torch.as_tensor(pixels)
        annotations = [a for a in record.pop("annotations") if not a["iscrowd"]]
        if self.is_train:
            moved = [
                du.transform_instance_annotations(dict(a), transforms, shape) for a in annotations
            ]
            instances = du.annotations_to_instances(moved, shape)
            instances.gt_attributes = _indicators(annotations, self.num_attributes)
            record["instances"] = du.filter_empty_instances(instances)
        return record


def _indicators(annotations: list[Record], num_attributes: int) -> torch.Tensor:
    has_NA = torch.zeros(len(annotations), num_attributes, dtype=torch.bool)
    for row, annotation in enumerate(annotations):
        has_NA[row, annotation["attributes"]] = True
    return has_NA


class DetectorTrainer(DefaultTrainer):
    """detectron2's own, with the mapper above, AdamW, and only a log and a file as writers."""

    @classmethod
    def build_optimizer(cls, cfg: Any, model: torch.nn.Module) -> torch.optim.Optimizer:
        """SGD as detectron2 has it, or AdamW; neither decays the weights of norms."""
        solver = cfg.SOLVER
        if solver.OPTIMIZER == "SGD":
            return super().build_optimizer(cfg, model)
        params = get_default_optimizer_params(
            model, base_lr=solver.BASE_LR, weight_decay_norm=solver.WEIGHT_DECAY_NORM
        )
        adam = torch.optim.AdamW(params, lr=solver.BASE_LR, weight_decay=solver.WEIGHT_DECAY)
        return maybe_add_gradient_clipping(cfg, adam)

    @classmethod
    def build_train_loader(cls, cfg: Any) -> Any:
        """Training pictures."""
        return build_detection_train_loader(cfg, mapper=AttributeMapper(cfg, is_train=True))

    @classmethod
    def build_test_loader(cls, cfg: Any, dataset_name: str) -> Any:
        """Pictures of a split, one at a time."""
        return build_detection_test_loader(
            cfg, dataset_name, mapper=AttributeMapper(cfg, is_train=False)
        )

    @classmethod
    def build_evaluator(cls, cfg: Any, dataset_name: str) -> DatasetEvaluator:
        """COCO's AP, and attributes where they are learned."""
        coco = COCOEvaluator(
            dataset_name,
            tasks=("bbox",),
            distributed=comm.get_world_size() > 1,
            output_dir=str(Path(cfg.OUTPUT_DIR) / "evaluation"),
            use_fast_impl=False,
        )
        parts: list[DatasetEvaluator] = [coco]
        if cfg.MODEL.ATTRIBUTES.NAMES:
            parts.append(AttributeEvaluator(dataset_name))
        return DatasetEvaluators(parts)

    def build_writers(self) -> list[Any]:
        """A line in the log and one in metrics.json every 20 steps."""
        return [
            CommonMetricPrinter(self.max_iter),
            JSONWriter(str(Path(self.cfg.OUTPUT_DIR) / "metrics.json")),
        ]


class AttributeEvaluator(DatasetEvaluator):
    """Share of found objects whose attributes are right.

    An object counts as found where a detection of its class overlaps it by IoU 0.5 or more; the
    detection of the highest score is asked. In a group the most probable attribute must be the
    object's; an attribute of no group is said to be there from probability 0.5.
    """

    def __init__(self, dataset_name: str) -> None:
        metadata = MetadataCatalog.get(dataset_name)
        self.names = metadata.attribute_classes
        self.groups = metadata.attribute_groups
        self.records = {record["image_id"]: record for record in DatasetCatalog.get(dataset_name)}
        self.reset()

    def reset(self) -> None:
        """Forget what was seen."""
        self.right: dict[str, list[bool]] = {name: [] for name in sorted(set(self.groups))}
        self.num_objects = 0
        self.num_found = 0

    def process(self, inputs: list[Record], outputs: list[Record]) -> None:
        """Judge the detections of some pictures."""
        for given, output in zip(inputs, outputs, strict=True):
            found = output["instances"].to("cpu")
            objects = [
                a for a in self.records[given["image_id"]]["annotations"] if not a["iscrowd"]
            ]
            boxes = torch.tensor([a["bbox"] for a in objects]).reshape(-1, 4).float()
            boxes[:, 2:] += boxes[:, :2]
            overlap = pairwise_iou(Boxes(boxes), found.pred_boxes)
            for k, annotation in enumerate(objects):
                fits = (overlap[k] >= 0.5) & (found.pred_classes == annotation["category_id"])
                self.num_objects += 1
                if fits.any():
                    self.num_found += 1
                    row = int((found.scores * fits).argmax())
                    self._judge(found.attribute_probabilities[row], set(annotation["attributes"]))

    def _judge(self, probabilities: torch.Tensor, own: set[int]) -> None:
        for name, right in self.right.items():
            members = [k for k, group in enumerate(self.groups) if group == name]
            if name == "":
                right += [(float(probabilities[k]) >= 0.5) == (k in own) for k in members]
            elif own.intersection(members):
                right.append(members[int(probabilities[members].argmax())] in own)

    def evaluate(self) -> dict[str, Any] | None:
        """`{"attributes": {...}}` over all processes, in the main one."""
        gathered = comm.gather((self.right, self.num_objects, self.num_found))
        if not comm.is_main_process():
            return None
        result = OrderedDict()
        total: list[bool] = []
        for name in self.right:
            right = [value for part, _, _ in gathered for value in part[name]]
            total += right
            result[f"right {name or 'alone'}"] = float(np.mean(right)) if right else float("nan")
        result["right"] = float(np.mean(total)) if total else float("nan")
        objects, found = (sum(part[k] for part in gathered) for k in (1, 2))
        result["found"] = found / objects if objects else float("nan")
        return {"attributes": result}
