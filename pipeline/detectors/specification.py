"""Which detector a user means by `--detector SPEC`, and how it is opened."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.detectors.base import RegionDetector, RegionNetwork
from pipeline.errors import DataError, SettingsError
from pipeline.fingerprint import file_digest

SCENES_MODEL = Path(__file__).with_name("scenes") / "detector.onnx"

FORMS = (
    "scenes, onnx:FILE, detectron2:CONFIG.yaml,WEIGHTS, detectron2:zoo/NAME "
    "or vg-attributes:WEIGHTS"
)


@dataclass(frozen=True)
class DetectorSpec:
    """A detector that is not opened yet.

    Attributes:
        kind: its backend, and where its settings come from.
        config: config file, or name in detectron2's model zoo; empty where weights say all.
        weights: file of the weights; empty for the model zoo.
    """

    kind: Literal["onnx", "detectron2", "zoo", "vg-attributes"]
    config: str = ""
    weights: str = ""

    @classmethod
    def parse(cls, text: str) -> "DetectorSpec":
        """From what stands after `--detector`.

        Raises:
            SettingsError: none of the known forms.
        """
        kind, _, rest = text.partition(":")
        if text == "scenes":
            return cls("onnx", weights=str(SCENES_MODEL))
        if kind in ("onnx", "vg-attributes") and rest:
            return cls("onnx" if kind == "onnx" else "vg-attributes", weights=rest)
        if kind == "detectron2" and rest.startswith("zoo/") and len(rest) > len("zoo/"):
            return cls("zoo", config=rest.removeprefix("zoo/"))
        config, comma, weights = rest.partition(",")
        if kind == "detectron2" and config and comma and weights:
            return cls("detectron2", config=config, weights=weights)
        raise SettingsError(f"expected a detector as {FORMS}; came {text!r}.")

    def fingerprint(self) -> dict[str, Any]:
        """What identifies it: digests of its files, wherever they lie.

        Raises:
            DataError: a file is missing.
        """
        backend = "onnx" if self.kind == "onnx" else "detectron2"
        if self.kind == "zoo":
            return {"backend": backend, "zoo": self.config}
        parts: dict[str, Any] = {"backend": backend}
        for name in ("config", "weights"):
            file = getattr(self, name)
            if file and not Path(file).is_file():
                raise DataError(f"expected the detector's {name} in {file}, no such file.")
            if file:
                parts[name] = file_digest(Path(file))
        return parts

    def open(self, device: str = "cpu", threads: int = 1) -> RegionNetwork:
        """The network, ready to run.

        Args:
            device: cpu or cuda.
            threads: that one picture may use on the CPU.

        Raises:
            PipelineError: a missing extra, a damaged file, a device that is absent.
        """
        if self.kind == "onnx":
            from pipeline.detectors.onnx import OnnxNetwork

            return OnnxNetwork(Path(self.weights), device=device, threads=threads)
        from pipeline.detectors.configuration import require_detectron2

        require_detectron2()
        from pipeline.detectors import detectron2

        if self.kind == "zoo":
            return detectron2.open_zoo(self.config, device=device, threads=threads)
        if self.kind == "vg-attributes":
            from pipeline.detectors.visual_genome import open_visual_genome

            return open_visual_genome(Path(self.weights), device=device, threads=threads)
        from pipeline.detectors.configuration import read_config

        config = read_config(Path(self.config))
        return detectron2.open_detectron2(
            config, Path(self.weights), device=device, threads=threads
        )


def open_detector(
    spec: str,
    *,
    regions: str | None = None,
    device: str = "cpu",
    threads: int = 1,
    half: bool = False,
) -> RegionDetector:
    """Open a detector by what a user calls it.

    Args:
        spec: `scenes`, `onnx:FILE` and so on.
        regions: how many to keep, as `36` or `10:100`; what the detector says where it is None.
        device: cpu or cuda.
        threads: that one picture may use on the CPU.
        half: half precision, with detectron2 on a GPU.

    Raises:
        PipelineError: not a detector, a missing extra, a damaged file, an absent device.
    """
    parsed = DetectorSpec.parse(spec)
    if half and (device == "cpu" or parsed.kind == "onnx"):
        raise SettingsError("half precision needs a detector of detectron2 and --device cuda.")
    network: Any = parsed.open(device, threads)
    if half:
        network.is_half = True
    return RegionDetector(network, network.info.selection.selection(regions), parsed.fingerprint())
