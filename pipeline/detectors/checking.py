"""Does an ONNX file meet the contract of a detector? For those who export a network of their own.

The contract is in docs/regions.md. P proposals.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipeline.detectors.base import Candidates, DetectorInfo, Picture, RegionDetector
from pipeline.detectors.onnx import OnnxNetwork, contract_faults, detector_info, open_session
from pipeline.errors import DataError

SHARES = ((1.0, 1.0), (0.6, 1.3), (1.3, 0.6), (0.25, 0.25), (0.05, 1.0), (0.0, 0.0))
"""Heights and widths to run, as shares of the short side; 0 stands for a single pixel."""

TOLERANCE = 1e-3
"""How far a probability may lie outside [0, 1], and a box, in pixels, outside the picture."""


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        level: ok; note where something could be better; FAULT where the contract is broken.
        text: what was found, and what to do where it is not ok.
    """

    level: Literal["ok", "note", "FAULT"]
    text: str


@dataclass(frozen=True)
class DetectorReport:
    """What `check_detector` found."""

    file: str
    findings: tuple[Finding, ...]

    @property
    def is_ok(self) -> bool:
        """Whether the file meets the contract."""
        return all(finding.level != "FAULT" for finding in self.findings)

    def to_text(self) -> str:
        """One line per finding, and a summary."""
        lines = [f"{one.level:5}  {one.text}" for one in self.findings]
        faults = sum(one.level == "FAULT" for one in self.findings)
        return "\n".join([*lines, f"{self.file}: {faults or 'no'} faults"])

    def to_json(self) -> str:
        """The findings as JSON."""
        return json.dumps(asdict(self) | {"is_ok": self.is_ok}, ensure_ascii=False)


def check_detector(path: Path, picture: Picture | None = None) -> DetectorReport:
    """Check a file's metadata, inputs, outputs and graph, and run it on several sizes.

    Args:
        path: the ONNX file.
        picture: `[height, width, 3]` RGB, to run as `extract-regions` would; noise if it is None.
    """
    return DetectorReport(str(path), tuple(_findings(path, picture)))


def _findings(path: Path, picture: Picture | None) -> Iterator[Finding]:
    try:
        session = open_session(path)
        info = detector_info(session, path)
    except DataError as error:
        yield Finding("FAULT", str(error))
        return
    yield from _metadata(info)
    faults = contract_faults(session, info)
    yield from (Finding("FAULT", f"the network {fault}") for fault in faults)
    yield from _baked_rows(path)
    if faults:
        return
    yield Finding("ok", "inputs and outputs are as docs/regions.md describes them")
    network = OnnxNetwork(path)
    yield from _runs(network)
    yield from _regions(network, noise(480, 640) if picture is None else picture)


def _metadata(info: DetectorInfo) -> Iterator[Finding]:
    for field in ("name", "domain"):
        value = getattr(info, field)
        if value:
            yield Finding("ok", f"{field}: {value}")
        else:
            yield Finding("note", f"the metadata states no {field}, which shards and messages show")
    groups = len(info.attribute_groups)
    if groups not in (0, len(info.attributes)):
        yield Finding("FAULT", f"{len(info.attributes)} attributes and {groups} attribute_groups")
    yield Finding(
        "ok",
        f"{len(info.classes)} classes, {len(info.attributes)} attributes, features of width "
        f"{info.feature_width}, {info.channels}, short side {info.resize.short_side}",
    )


def _baked_rows(path: Path) -> Iterator[Finding]:
    """Reshapes to a fixed number of rows, which a tracer writes where code asks for `len(boxes)`.

    Such a file fails on other numbers of proposals, or silently mixes their boxes.
    """
    try:
        from onnx import load_model, numpy_helper
    except ImportError:
        yield Finding("note", "reshapes were not checked: pip install onnx")
        return
    graph = load_model(path).graph
    constants: dict[str, Any] = {one.name: one for one in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            constants |= dict.fromkeys(node.output, node.attribute[0].t)
    shapes = {
        node.name: numpy_helper.to_array(constants[node.input[1]]).tolist()
        for node in graph.node
        if node.op_type == "Reshape" and node.input[1] in constants
    }
    baked = {name: shape for name, shape in shapes.items() if len(shape) > 1 and shape[0] > 1}
    for name, shape in baked.items():
        yield Finding(
            "FAULT",
            f"{name} reshapes to {shape}: its {shape[0]} rows were the example's number of "
            "proposals. Reshape with -1 in its place and export again",
        )
    if not baked:
        yield Finding("ok", "no reshape has a fixed number of rows")


def _runs(network: OnnxNetwork) -> Iterator[Finding]:
    counts = []
    for height, width in _sizes(network.info):
        picture = noise(height, width).transpose(2, 0, 1).astype(np.float32)
        where = f"a picture of {height} x {width} pixels"
        try:
            (found,) = network.start(picture[None])()
        except DataError as error:
            yield Finding("FAULT", str(error))
            continue
        faults = list(_answer_faults(found, network.info, height, width))
        yield from (Finding("FAULT", f"{where}: {fault}") for fault in faults)
        counts.append(len(found.boxes))
        if not faults:
            yield Finding("ok", f"{where}: {len(found.boxes)} proposals")
    if len(set(counts)) == 1 and counts[0] == 0:
        yield Finding("FAULT", "no picture of noise had any proposal")


def _sizes(info: DetectorInfo) -> list[tuple[int, int]]:
    side = info.resize.short_side
    return [(max(1, round(side * y)), max(1, round(side * x))) for y, x in SHARES]


def _answer_faults(found: Candidates, info: DetectorInfo, height: int, width: int) -> Iterator[str]:
    rows = len(found.boxes)
    widths = {"boxes": 4, "class_scores": len(info.classes), "features": info.feature_width}
    if info.attributes:
        widths["attribute_scores"] = len(info.attributes)
    for name, columns in widths.items():
        array = getattr(found, name)
        if array.shape != (rows, columns):
            yield f"{name} is {list(array.shape)}, expected [{rows}, {columns}]"
        elif not np.isfinite(array).all():
            yield f"{name} holds numbers that are not finite"
        elif name.endswith("scores") and not _within(array, 1):
            yield f"{name} should be probabilities, they lie in {_range(array)}"
    if found.boxes.shape[1:] != (4,) or not np.isfinite(found.boxes).all():
        return
    x, y = found.boxes[:, 0::2], found.boxes[:, 1::2]
    if not _within(x, width) or not _within(y, height):
        yield f"boxes leave the picture: x in {_range(x)}, y in {_range(y)}"
    if (np.diff(x) < -TOLERANCE).any() or (np.diff(y) < -TOLERANCE).any():
        yield "boxes should be x0, y0, x1, y1 with x0 <= x1 and y0 <= y1"


def _within(values: np.ndarray, highest: float) -> bool:
    return bool(((values >= -TOLERANCE) & (values <= highest + TOLERANCE)).all())


def _range(values: np.ndarray) -> str:
    return f"[{values.min():g}, {values.max():g}]"


def _regions(network: OnnxNetwork, picture: Picture) -> Iterator[Finding]:
    detector = RegionDetector(network, network.info.selection.selection(), {})
    try:
        (found,) = detector.detect([picture])
    except DataError as error:
        yield Finding("FAULT", str(error))
        return
    height, width = picture.shape[:2]
    best = f", the best {network.info.classes[found.labels[0]]}" if len(found.labels) else ""
    yield Finding("ok", f"selection keeps {len(found.boxes)} regions of {width} x {height}{best}")


def noise(height: int, width: int) -> Picture:
    """A picture of coloured blocks and noise, so that something is proposed."""
    random = np.random.default_rng(0)
    blocks = random.integers(0, 256, (8, 8, 3))
    rows, columns = np.arange(height) * 8 // height, np.arange(width) * 8 // width
    noisy = blocks[rows][:, columns] + random.integers(-30, 31, (height, width, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)
