"""The Visual Genome attribute detector of bottom-up attention, in both published dialects.

The same Caffe weights (Anderson et al. 2018) were converted twice. The `caffe` dialect
(bua-caffe-frcn-r101*.pth) keeps background first and two objectness logits an anchor; the
`detectron2` dialect (faster_rcnn_from_caffe_attr*.pkl) has background last and one logit. Both
become one canonical form, which is that of `AttributeRes5ROIHeads` and is kept as safetensors.
"""

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from pipeline.detectors.checkpoints import Weights, fit_weights, read_weights
from pipeline.detectors.devices import choose_device
from pipeline.errors import DataError
from pipeline.fingerprint import file_digest

Dialect = Literal["caffe", "detectron2", "canonical"]

PREDICTOR = "roi_heads.box_predictor."
ATTRIBUTES = "roi_heads.attributes."
OBJECTNESS = "proposal_generator.rpn_head.objectness_logits."

_ATTRIBUTE_KEYS: dict[str, dict[str, str]] = {
    "caffe": {"cls_embed": "embedding", "attr_linear1": "hidden", "attr_linear2": "score"},
    "detectron2": {"cls_embedding": "embedding", "fc_attr": "hidden", "attr_score": "score"},
}
_DEPTHS = {6: 50, 23: 101, 36: 152}  # by the number of blocks of res4

SOURCE_KEY = "source_sha256"


def dialect_of(weights: Weights, path: Path) -> Dialect:
    """Which dialect a checkpoint is written in, by its keys.

    Raises:
        DataError: none of the known ones, so another architecture.
    """
    if ATTRIBUTES + "embedding.weight" in weights:
        return "canonical"
    for dialect in ("caffe", "detectron2"):
        keys = [f"{PREDICTOR}{name}.weight" for name in _ATTRIBUTE_KEYS[dialect]]
        if all(key in weights for key in keys):
            return dialect
    raise DataError(
        f"{path} is not an attribute detector of bottom-up attention: expected under {PREDICTOR} "
        "cls_embed, attr_linear1, attr_linear2 or cls_embedding, fc_attr, attr_score; its keys "
        f"begin with {', '.join(sorted(weights)[:3])}. Another detector is given as "
        "detectron2:CONFIG.yaml,WEIGHTS."
    )


def canonical_weights(weights: Weights, path: Path) -> tuple[Weights, Dialect]:
    """The weights of any dialect in the canonical form, and which dialect it was.

    Raises:
        DataError: another architecture, or widths that do not belong together.
    """
    weights = {name.removeprefix("module."): value for name, value in weights.items()}
    dialect = dialect_of(weights, path)
    if dialect == "canonical":
        return weights, dialect
    renamed = {f"{PREDICTOR}{old}.": new for old, new in _ATTRIBUTE_KEYS[dialect].items()}
    converted: Weights = {}
    for name, value in weights.items():
        for old, new in renamed.items():
            if name.startswith(old):
                name = f"{ATTRIBUTES}{new}.{name.removeprefix(old)}"
        converted[name] = value
    _check_widths(converted, dialect, path)
    if dialect == "caffe":
        _put_background_last(converted)
    return converted, dialect


def _check_widths(weights: Weights, dialect: Dialect, path: Path) -> None:
    try:
        rows = weights[PREDICTOR + "cls_score.weight"].shape[0]
        regressed = weights[PREDICTOR + "bbox_pred.weight"].shape[0]
        logits = weights[OBJECTNESS + "weight"].shape[0]
        deltas = weights["proposal_generator.rpn_head.anchor_deltas.weight"].shape[0]
        embedded = weights[ATTRIBUTES + "embedding.weight"].shape[0]
    except KeyError as error:
        raise DataError(f"{path} lacks {error}; download it again.") from error
    is_caffe = dialect == "caffe"
    expected = {
        "logits of objectness": (logits, deltas // 4 * (2 if is_caffe else 1)),
        "rows of box regression": (regressed, 4 * (rows if is_caffe else rows - 1)),
        "embedded classes": (embedded, rows),
    }
    for what, (came, due) in expected.items():
        if came != due:
            raise DataError(
                f"{path} has the keys of the {dialect} dialect and {came} {what}, expected {due} "
                f"for {rows - 1} classes and {deltas // 4} anchors; it is damaged."
            )


def _put_background_last(weights: Weights) -> None:
    """Reorder rows of the caffe dialect in place: background from first to last."""
    for name in (PREDICTOR + "cls_score.", ATTRIBUTES + "embedding.", ATTRIBUTES + "score."):
        for part in ("weight", "bias"):
            if name + part in weights:
                weights[name + part] = weights[name + part].roll(-1, 0)
    for part in ("weight", "bias"):
        name = PREDICTOR + "bbox_pred." + part
        weights[name] = weights[name][4:]
        # of two logits a softmax takes what a sigmoid takes of their difference
        absent, present = weights[OBJECTNESS + part].chunk(2)
        weights[OBJECTNESS + part] = present - absent


def visual_genome_config(weights: Weights, folder: Path) -> Any:
    """The config of canonical weights: depth and widths are read off the tensors.

    Class and attribute names come from `objects_vocab.txt` and `attributes_vocab.txt` in the
    folder, as the project that trained the detector publishes them; without them they are numbers.
    """
    from pipeline.detectors.detectron2.configuration import named_config

    config = named_config("r101-c4")
    blocks = sum(
        name.startswith("backbone.res4.") and name.endswith(".conv1.weight") for name in weights
    )
    model, resnets = config.MODEL, config.MODEL.RESNETS
    model.BACKBONE.NAME = "build_caffe_resnet_backbone"
    resnets.DEPTH = _DEPTHS.get(blocks, 101)
    resnets.STEM_OUT_CHANNELS = _rows(weights, "backbone.stem.conv1.weight")
    resnets.WIDTH_PER_GROUP = _rows(weights, "backbone.res2.0.conv1.weight")
    resnets.RES2_OUT_CHANNELS = _rows(weights, "backbone.res2.0.conv3.weight")
    model.PROPOSAL_GENERATOR.NAME = "CaffeRPN"
    model.PROPOSAL_GENERATOR.MIN_SIZE = 16
    model.ANCHOR_GENERATOR.NAME = "CaffeAnchorGenerator"
    model.ANCHOR_GENERATOR.SIZES = [[64, 128, 256, 512]]
    model.RPN.CONV_DIMS = [_rows(weights, "proposal_generator.rpn_head.conv.weight")]
    model.ROI_BOX_HEAD.POOLER_TYPE = "ROIPool"
    model.ROI_BOX_HEAD.BBOX_REG_WEIGHTS = (1.0, 1.0, 1.0, 1.0)
    num_classes = _rows(weights, PREDICTOR + "cls_score.weight") - 1
    model.ROI_HEADS.NUM_CLASSES = num_classes
    model.CLASSES = _names(folder / "objects_vocab.txt", num_classes)
    num_attributes = _rows(weights, ATTRIBUTES + "score.weight") - 1
    model.ATTRIBUTES.NAMES = _names(folder / "attributes_vocab.txt", num_attributes)
    model.ATTRIBUTES.EMBEDDING_WIDTH = weights[ATTRIBUTES + "embedding.weight"].shape[1]
    model.ATTRIBUTES.HIDDEN_WIDTH = _rows(weights, ATTRIBUTES + "hidden.weight")
    model.REGIONS.BOXES = "proposals"
    model.REGIONS.RESIZE = "opencv"
    model.REGIONS.SELECTION.counts_pixels = True
    return config


def _rows(weights: Weights, name: str) -> int:
    if name not in weights:
        raise DataError(
            f"the checkpoint lacks {name}; expected a ResNet C4 of bottom-up attention."
        )
    return weights[name].shape[0]


def _names(file: Path, count: int) -> list[str]:
    """Names of a vocabulary file, a line each, the first of synonyms; else numbers."""
    if not file.is_file():
        return [str(k) for k in range(count)]
    lines = file.read_text(encoding="utf-8-sig").splitlines()
    names = [line.split(",")[0].strip() for line in lines if line.strip()]
    if len(names) != count:
        raise DataError(f"{file} names {len(names)} classes, the detector beside it has {count}.")
    return names


def open_visual_genome(path: Path, *, device: str = "cpu", threads: int = 1) -> Any:
    """The attribute detector of a checkpoint in any dialect.

    Beside a `.pth` or `.pkl` file the canonical form is left as `.safetensors`, which holds no
    code and opens faster; a later call takes it where it stems from the very same file.

    Raises:
        MissingExtraError: no detectron2.
        DataError: damaged, another architecture, or a key too many or too few.
    """
    from pipeline.detectors.detectron2 import network

    device = choose_device(device, "torch")
    weights, dialect = _load(path)
    config = visual_genome_config(weights, path.parent)
    model = network.build_model(config)
    fit_weights(model, weights, path)
    info = network.config_info(config, network.feature_width(model))
    info = info.model_copy(update={"dialect": dialect})
    return network.detectron2_network(model, info, device=device, threads=threads)


def _load(path: Path) -> tuple[Weights, Dialect]:
    """Canonical weights, and the dialect of the published file."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    if path.suffix == ".safetensors":
        return canonical_weights(read_weights(path), path)
    if not path.is_file():
        return canonical_weights(read_weights(path), path)  # says that it is missing
    kept = path.with_suffix(".safetensors")
    digest = file_digest(path)
    if kept.is_file():
        with safe_open(kept, "pt") as stream:
            metadata = stream.metadata() or {}
        if metadata.get(SOURCE_KEY) == digest:
            weights, _ = canonical_weights(read_weights(kept), kept)
            return weights, _known(metadata.get("dialect"))
    weights, dialect = canonical_weights(read_weights(path), path)
    plain: dict[str, Tensor] = {name: value.contiguous() for name, value in weights.items()}
    try:
        if not kept.exists():
            save_file(plain, kept, metadata={SOURCE_KEY: digest, "dialect": dialect})
    except OSError:
        pass  # a folder that may not be written: the file is converted at each call
    return {name: torch.as_tensor(value) for name, value in plain.items()}, dialect


def _known(dialect: str | None) -> Dialect:
    return dialect if dialect in ("caffe", "detectron2") else "canonical"  # type: ignore[return-value] - one of its literals
