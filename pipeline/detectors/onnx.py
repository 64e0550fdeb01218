"""A detector in one ONNX file, run by ONNX Runtime; needs neither detectron2 nor torch.

The file's metadata under `resg.detector` is the JSON of a `DetectorInfo`. Its network takes one
picture `[3, height, width]` and gives `boxes`, `class_scores`, `features` and, where it has
attributes, `attribute_scores`. docs/regions.md describes them; `checking.py` checks a file.
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from pydantic import ValidationError

from pipeline.detectors.base import Candidates, DetectorInfo
from pipeline.detectors.devices import choose_device
from pipeline.errors import DataError

METADATA_KEY = "resg.detector"
INPUT = "image"
OUTPUTS = ("boxes", "class_scores", "features", "attribute_scores")
FLOAT = "tensor(float)"


class OnnxNetwork:
    """An exported detector.

    Args:
        path: the file.
        device: auto, cpu, cuda or cuda:N.
        threads: that one picture may use on the CPU.

    Raises:
        DataError: no such file, damaged, or not a detector.
        SettingsError: an absent device, or an ONNX Runtime without CUDA.
    """

    def __init__(self, path: Path, *, device: str = "cpu", threads: int = 1) -> None:
        self.path = path
        self.session = open_session(path, device, threads)
        self.info = detector_info(self.session, path)
        for fault in contract_faults(self.session, self.info):
            raise DataError(f"{path} {fault}; write it again with: pipeline export-detector.")
        self.outputs = expected_outputs(self.info)

    def start(self, pictures_B3HW: NDArray[np.floating[Any]]) -> Callable[[], list[Candidates]]:
        """See `RegionNetwork`; one picture at a time, as the graph holds one, and at once.

        Raises:
            DataError: the graph fails on a picture of this size.
        """
        found = [self._run(picture) for picture in pictures_B3HW]
        return lambda: found

    def _run(self, picture_3HW: NDArray[np.floating[Any]]) -> Candidates:
        try:
            return Candidates(*self.session.run(self.outputs, {INPUT: picture_3HW}))
        except _faults() as error:
            height, width = picture_3HW.shape[1:]
            raise DataError(
                f"{self.path} fails on a picture of {height} x {width} pixels. Such a file often "
                "keeps a shape of the picture that it was exported with, such as the number of "
                "proposals. Export it again with this version of pipeline export-detector."
            ) from error


def expected_outputs(info: DetectorInfo) -> list[str]:
    """Names of the outputs in order: attributes only where the detector has any."""
    return list(OUTPUTS if info.attributes else OUTPUTS[:3])


def contract_faults(session: Any, info: DetectorInfo) -> list[str]:
    """What of inputs and outputs is not as docs/regions.md says; each goes on after `FILE ...`."""
    faults = []
    outputs = {one.name: one for one in session.get_outputs()}
    expected = expected_outputs(info)
    if set(outputs) != set(expected):
        faults.append(f"should have the outputs {', '.join(expected)}, it has {', '.join(outputs)}")
    widths = {
        "boxes": 4,
        "class_scores": len(info.classes),
        "features": info.feature_width,
        "attribute_scores": len(info.attributes),
    }
    for name in expected:
        if name in outputs:
            faults += _output_faults(outputs[name], widths[name])
    inputs = {one.name: one for one in session.get_inputs()}
    if set(inputs) != {INPUT}:
        faults.append(f"should have the one input {INPUT}, it has {', '.join(inputs)}")
    elif len(inputs[INPUT].shape) != 3 or inputs[INPUT].type != FLOAT:
        faults.append(
            f"should take {INPUT} as float32 [3, height, width], it takes {inputs[INPUT].type} "
            f"{inputs[INPUT].shape}"
        )
    elif any(isinstance(side, int) for side in inputs[INPUT].shape[1:]):
        faults.append(
            f"takes pictures of {inputs[INPUT].shape[1:]} pixels alone; height and width should be "
            "dynamic"
        )
    return faults


def _output_faults(output: Any, width: int) -> list[str]:
    if output.type != FLOAT or len(output.shape) not in (0, 2):  # 0: nothing is known before a run
        came = f"{output.type} {output.shape}"
        return [f"should give {output.name} as float32 [proposals, {width}], it gives {came}"]
    if not output.shape:
        return []
    rows, columns = output.shape
    faults = []
    if isinstance(columns, int) and columns != width:
        faults.append(f"gives {columns} columns of {output.name}, its metadata says {width}")
    if isinstance(rows, int):
        faults.append(f"gives {rows} rows of {output.name} whatever the picture")
    return faults


def detector_info(session: Any, path: Path) -> DetectorInfo:
    """What the file says of itself.

    Raises:
        DataError: it is an ONNX file, but not a detector of ours.
    """
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise DataError(
            f"{path} is an ONNX file but not a detector: it has no metadata {METADATA_KEY!r}. "
            "Write one with: pipeline export-detector --detector SPEC --out FILE.onnx"
        )
    try:
        return DetectorInfo.model_validate_json(text)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"])) or "its JSON"
        raise DataError(
            f"{path} describes its detector wrongly ({where}: {fault['msg']}); "
            "write it again with: pipeline export-detector."
        ) from error


def open_session(path: Path, device: str = "cpu", threads: int = 1) -> Any:
    """An `onnxruntime.InferenceSession` of a file; arguments and errors as of `OnnxNetwork`."""
    if not path.is_file():
        raise DataError(f"expected a detector in {path}, there is no such file.")
    providers: list[Any] = ["CPUExecutionProvider"]
    device = choose_device(device, "onnxruntime")
    if device != "cpu":
        number = int(device.removeprefix("cuda:"))
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": number}))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # it warns of shapes only known at run time; errors are raised
    # Threads that spin while they wait take the cores from the other workers.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except _faults() as error:
        reason = " ".join(str(error).split())[:300]
        raise DataError(
            f"{path} is not a complete ONNX file ({reason}); download or export it again."
        ) from error


def _faults() -> tuple[type[Exception], ...]:
    state = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    names = ("InvalidProtobuf", "InvalidGraph", "Fail", "InvalidArgument", "RuntimeException")
    return tuple(getattr(state, name) for name in names)
