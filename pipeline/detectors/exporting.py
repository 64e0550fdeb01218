"""Write a detector that torch runs into one ONNX file, which needs no torch to run."""

import warnings
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.detectors.base import DetectorInfo
from pipeline.detectors.onnx import INPUT, METADATA_KEY, OUTPUTS
from pipeline.detectors.specification import DetectorSpec
from pipeline.detectors.torch_backend import ProposalNetwork, TorchNetwork
from pipeline.errors import MissingExtraError, SettingsError

OPSET = 16
"""The first whose RoiAlign has half-pixel alignment, as detectron2 and torchvision use it."""

SMALLEST_HALVED = 1024
"""Numbers of a weight from which half precision pays; biases and anchors stay as they are."""


def export_detector(
    spec: str, out: Path, *, name: str | None = None, domain: str | None = None
) -> tuple[DetectorInfo, int]:
    """Open the detector that a user means and write it into a file.

    Args:
        spec: as after `--detector`.
        out: the file.
        name: what to call it, in place of its own name.
        domain: the kind of pictures it was trained on, in place of what it says itself.

    Returns:
        The metadata that the file carries, and the file's size in bytes.

    Raises:
        PipelineError: the detector cannot be opened, or is an ONNX file already.
    """
    parsed = DetectorSpec.parse(spec)
    if parsed.kind == "onnx":
        raise SettingsError(
            f"expected a detector of torchvision or detectron2, {spec} is exported already."
        )
    network = parsed.open()
    assert isinstance(network, TorchNetwork)
    changes = {"name": name, "domain": domain}
    info = network.info.model_copy(update={k: v for k, v in changes.items() if v})
    return info, export_network(network.module, info, out)


def export_network(
    network: ProposalNetwork, info: DetectorInfo, out: Path, *, half_weights: bool = False
) -> int:
    """Write a network and its metadata into a file; selection stays outside.

    The graph takes one image of any size and gives any number of proposals. docs/regions.md
    describes inputs, outputs and metadata.

    Args:
        network: in evaluation mode, on any device.
        info: what it was made for.
        out: the file.
        half_weights: store weights in half precision, which halves the file; they are widened when
            the file is opened, and the network computes in single precision as before.

    Returns:
        Its size in bytes.

    Raises:
        MissingExtraError: no onnx.
    """
    try:
        from onnx import checker, helper, load_model
    except ImportError as error:
        raise MissingExtraError("onnx", "torchvision") from error

    names = list(OUTPUTS if info.attributes else OUTPUTS[:3])
    temporary = out.with_name(out.name + ".tmp")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracer warns of each Python number it meets
        torch.onnx.export(
            _OneImage(network).eval(),  # else the exporter leaves the network in training mode
            (_example(network, info),),
            temporary,
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=names,
            dynamic_axes={INPUT: {1: "height", 2: "width"}} | {n: {0: "proposals"} for n in names},
        )
    model = load_model(temporary)
    if half_weights:
        _halve_weights(model.graph)
    helper.set_model_props(model, {METADATA_KEY: info.model_dump_json()})
    checker.check_model(model)
    content = model.SerializeToString()
    temporary.write_bytes(content)
    temporary.replace(out)
    return len(content)


def _halve_weights(graph: Any) -> None:
    """Replace weights of an ONNX graph by half-precision ones, each with a cast behind it."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for weight in graph.initializer:
        if weight.data_type != TensorProto.FLOAT or prod(weight.dims) < SMALLEST_HALVED:
            continue
        name = weight.name
        halved = numpy_helper.to_array(weight).astype(np.float16)
        weight.CopyFrom(numpy_helper.from_array(halved, f"{name}.half"))
        casts.append(helper.make_node("Cast", [weight.name], [name], to=TensorProto.FLOAT))
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*casts, *nodes])


class _OneImage(nn.Module):
    """The graph that a file holds: one image `[3, height, width]` in, the outputs in order."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, image_3HW: Tensor) -> tuple[Tensor, ...]:
        found = self.network(image_3HW[None])
        outputs = (found.boxes, found.class_scores, found.features, found.attribute_scores)
        return tuple(output for output in outputs if output is not None)


def _example(network: Any, info: DetectorInfo) -> Tensor:
    """An image to trace with: not square, and no multiple of 32, so that no two sides agree."""
    policy = info.resize
    shape = (3, policy.short_side + 1, min(policy.max_side, policy.short_side * 4 // 3))
    device = next((parameter.device for parameter in network.parameters()), "cpu")
    return torch.linspace(0, 255, shape[0] * shape[1] * shape[2]).reshape(shape).to(device)
