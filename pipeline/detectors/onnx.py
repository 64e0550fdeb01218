"""A detector in one ONNX file, run by ONNX Runtime; needs neither detectron2 nor torch.

The file's metadata under `resg.detector` is the JSON of a `DetectorInfo`. Its network takes one
picture `[3, height, width]` and gives `boxes`, `class_scores`, `features` and, where it has
attributes, `attribute_scores`.
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
from pipeline.errors import DataError, SettingsError

METADATA_KEY = "resg.detector"
INPUT = "image"
OUTPUTS = ("boxes", "class_scores", "features", "attribute_scores")


class OnnxNetwork:
    """An exported detector.

    Args:
        path: the file.
        device: cpu or cuda.
        threads: that one picture may use on the CPU.

    Raises:
        DataError: no such file, damaged, or not a detector.
        SettingsError: CUDA was asked for and this ONNX Runtime has none.
    """

    def __init__(self, path: Path, *, device: str = "cpu", threads: int = 1) -> None:
        self.session = _open(path, device, threads)
        self.info = detector_info(self.session, path)
        names = [output.name for output in self.session.get_outputs()]
        expected = OUTPUTS if self.info.attributes else OUTPUTS[:3]
        if set(names) != set(expected):
            raise DataError(
                f"{path} should have the outputs {', '.join(expected)}, it has {', '.join(names)}; "
                "write it with: pipeline export-detector."
            )
        self.outputs = list(expected)
        _check_widths(self.session, self.info, path)

    def start(self, pictures_B3HW: NDArray[np.floating[Any]]) -> Callable[[], list[Candidates]]:
        """See `RegionNetwork`; one picture at a time, as the graph holds one, and at once."""
        found = [
            Candidates(*self.session.run(self.outputs, {INPUT: picture}))
            for picture in pictures_B3HW
        ]
        return lambda: found


def detector_info(session: Any, path: Path) -> DetectorInfo:
    """What the file says of itself.

    Raises:
        DataError: it is an ONNX file, but not a detector of ours.
    """
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise DataError(
            f"{path} is an ONNX file but no detector: it has no metadata {METADATA_KEY!r}. "
            "Write one with: pipeline export-detector --detector SPEC --out FILE.onnx"
        )
    try:
        return DetectorInfo.model_validate_json(text)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"])) or "its JSON"
        raise DataError(
            f"{path} describes its detector wrongly ({where}: {fault['msg']}); "
            "write it anew with: pipeline export-detector."
        ) from error


def _open(path: Path, device: str, threads: int) -> Any:
    if not path.is_file():
        raise DataError(f"expected a detector in {path}, there is no such file.")
    providers = ["CPUExecutionProvider"]
    if device == "cuda":
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise SettingsError(
                "CUDA was asked for, but this ONNX Runtime runs on "
                f"{onnxruntime.get_device()} alone; install onnxruntime-gpu or use --device cpu."
            )
        providers.insert(0, "CUDAExecutionProvider")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # a warning for every shape that is only known at run time
    # Threads that spin while they wait take the cores from the other workers.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except _faults() as error:
        reason = " ".join(str(error).split())[:300]
        raise DataError(
            f"{path} is no whole ONNX file ({reason}); fetch or export it again."
        ) from error


def _faults() -> tuple[type[Exception], ...]:
    state = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    return (state.InvalidProtobuf, state.InvalidGraph, state.Fail, state.InvalidArgument)


def _check_widths(session: Any, info: DetectorInfo, path: Path) -> None:
    widths = {output.name: output.shape[-1] for output in session.get_outputs()}
    expected = {
        "class_scores": len(info.classes),
        "features": info.feature_width,
        "attribute_scores": len(info.attributes),
    }
    for name, width in expected.items():
        if name in widths and isinstance(widths[name], int) and widths[name] != width:
            raise DataError(
                f"{path} gives {widths[name]} columns of {name}, its metadata says {width}; "
                "write it anew with: pipeline export-detector."
            )
