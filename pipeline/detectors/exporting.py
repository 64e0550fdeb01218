"""Write a detectron2 detector into one ONNX file that needs no detectron2. Needs detectron2."""

import warnings
from pathlib import Path

import torch

from pipeline.detectors.detectron2 import Detectron2Network
from pipeline.detectors.onnx import INPUT, METADATA_KEY, OUTPUTS
from pipeline.errors import MissingExtraError

OPSET = 16
"""The first with RoiAlign as detectron2 aligns it."""


def export_detector(network: Detectron2Network, out: Path) -> int:
    """Write network and metadata into a file; selection stays outside.

    The number of proposals and the picture's size are dynamic; a graph holds one picture.

    Args:
        network: an opened detector.
        out: the file.

    Returns:
        Its size in bytes.

    Raises:
        MissingExtraError: no onnx.
    """
    try:
        from onnx import checker, helper, load_model
    except ImportError as error:
        raise MissingExtraError("onnx", "detectron2") from error

    names = list(OUTPUTS if network.info.attributes else OUTPUTS[:3])
    policy = network.info.resize
    # not square, and no multiple of 32: sides must not be taken for one another
    shape = (3, policy.short_side + 1, min(policy.max_side, policy.short_side * 4 // 3))
    example = torch.linspace(0, 255, shape[0] * shape[1] * shape[2]).reshape(shape)
    beside = out.with_name(out.name + ".tmp")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of each shape that tracing takes for a constant
        torch.onnx.export(
            network.heads,
            (example.to(network.device),),
            beside,
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=names,
            dynamic_axes={INPUT: {1: "height", 2: "width"}} | {n: {0: "proposals"} for n in names},
        )
    model = load_model(beside)
    helper.set_model_props(model, {METADATA_KEY: network.info.model_dump_json()})
    checker.check_model(model)
    content = model.SerializeToString()
    beside.write_bytes(content)
    beside.replace(out)
    return len(content)
