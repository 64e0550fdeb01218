"""Which detector a user means by `--detector SPEC`, and how it is opened."""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.detectors.base import DetectorInfo, RegionDetector, RegionNetwork
from pipeline.detectors.devices import choose_device
from pipeline.errors import DataError, SettingsError
from pipeline.fingerprint import file_digest

FORMS = (
    "photos, scenes, photos:RUN, onnx:FILE, torchvision:MODEL[,WEIGHTS], "
    "detectron2:CONFIG.yaml,WEIGHTS, detectron2:zoo/NAME or vg-attributes:WEIGHTS"
)

DEFAULT = "photos"
"""The detector where neither the user nor the manifest names one."""

EMBEDDED = {
    "photos": "photographs",
    "scenes": "generated scenes of pipeline make-scenes",
}
"""Detectors that come with the package, and their domain where the file itself states none."""

UNKNOWN_DOMAIN = "pictures of an unstated domain"


def embedded_file(name: str) -> Path:
    """Where the weights of an embedded detector lie."""
    return Path(__file__).parent / name / "detector.onnx"


@dataclass(frozen=True)
class DetectorSpec:
    """A detector that is not opened yet.

    Attributes:
        kind: its backend, and where its settings come from.
        config: config file, or name in detectron2's or torchvision's model zoo; empty where the
            weights say all.
        weights: file of the weights; empty for those of a model zoo.
        name: of an embedded detector.
    """

    kind: Literal["onnx", "photos", "torchvision", "detectron2", "zoo", "vg-attributes"]
    config: str = ""
    weights: str = ""
    name: str = ""

    @classmethod
    def parse(cls, text: str) -> "DetectorSpec":
        """Parse the value of `--detector`.

        Raises:
            SettingsError: none of the known forms.
        """
        if text in EMBEDDED:
            return cls("onnx", weights=str(embedded_file(text)), name=text)
        kind, _, rest = text.partition(":")
        config, comma, weights = rest.partition(",")
        if kind in ("onnx", "vg-attributes") and rest:
            return cls("onnx" if kind == "onnx" else "vg-attributes", weights=rest)
        if kind == "photos" and rest:
            run = Path(rest)
            return cls("photos", str(run / "recipe.yaml"), str(run / "model.safetensors"))
        if kind == "torchvision" and config and bool(comma) == bool(weights):
            return cls("torchvision", config=config, weights=weights)
        if kind == "detectron2" and rest.startswith("zoo/") and len(rest) > len("zoo/"):
            return cls("zoo", config=rest.removeprefix("zoo/"))
        if kind == "detectron2" and config and comma and weights:
            return cls("detectron2", config=config, weights=weights)
        names = [*EMBEDDED, "onnx", "torchvision", "detectron2", "vg-attributes"]
        near = difflib.get_close_matches(kind, names, n=1)
        hint = f" Did you mean {near[0]}?" if near and near[0] != kind else ""
        raise SettingsError(f"expected a detector as {FORMS}; got {text!r}.{hint}")

    @property
    def backend(self) -> Literal["onnx", "torchvision", "detectron2"]:
        """Which library runs it."""
        if self.kind == "onnx":
            return "onnx"
        return "torchvision" if self.kind in ("photos", "torchvision") else "detectron2"

    def device(self, name: str) -> str:
        """The device that `--device` means for this backend: `cpu` or `cuda:N`.

        Raises:
            SettingsError: not a device, or a GPU that the backend cannot use.
        """
        return choose_device(name, "onnxruntime" if self.backend == "onnx" else "torch")

    def fingerprint(self) -> dict[str, Any]:
        """What identifies it: digests of its files, wherever they lie.

        Raises:
            DataError: a file is missing.
        """
        parts: dict[str, Any] = {"backend": self.backend}
        if self.kind in ("zoo", "torchvision"):
            parts["zoo" if self.kind == "zoo" else "model"] = self.config
        elif self.config:
            parts["config"] = _digest(self.config, "config")
        if self.kind == "torchvision" and not self.weights:
            from pipeline.detectors.torchvision import published_weights

            parts["weights"] = Path(published_weights(self.config).url).name  # it ends in a digest
        if self.weights:
            if self.name and not Path(self.weights).is_file():
                raise self._absent()
            parts["weights"] = _digest(self.weights, "weights")
        return parts

    def open(self, device: str = "cpu", threads: int = 1) -> RegionNetwork:
        """The network, ready to run.

        Args:
            device: auto, cpu, cuda or cuda:N.
            threads: that one picture may use on the CPU.

        Raises:
            PipelineError: a missing extra, a damaged file, a device that is absent.
        """
        network: Any = self._open(device, threads)
        network.info = self._described(network.info)
        return network

    def _open(self, device: str, threads: int) -> RegionNetwork:
        weights = Path(self.weights)
        if self.kind == "onnx":
            if self.name and not weights.is_file():
                raise self._absent()
            from pipeline.detectors.onnx import OnnxNetwork

            return OnnxNetwork(weights, device=device, threads=threads)
        if self.kind == "photos":
            from pipeline.detectors.torchvision import require_torchvision

            require_torchvision()
            from pipeline.detectors.training.run_folder import open_run

            return open_run(weights.parent, device=device, threads=threads)
        if self.kind == "torchvision":
            from pipeline.detectors.torchvision import open_torchvision

            path = weights if self.weights else None
            return open_torchvision(self.config, path, device=device, threads=threads)
        from pipeline.detectors.detectron2.configuration import read_config, require_detectron2

        require_detectron2()
        from pipeline.detectors.detectron2 import network, visual_genome

        if self.kind == "zoo":
            return network.open_zoo(self.config, device=device, threads=threads)
        if self.kind == "vg-attributes":
            return visual_genome.open_visual_genome(weights, device=device, threads=threads)
        config = read_config(Path(self.config))
        return network.open_detectron2(config, weights, device=device, threads=threads)

    def _described(self, info: DetectorInfo) -> DetectorInfo:
        """The metadata with a name and a domain, where the file states none."""
        name = self.name or Path(self.config or self.weights).stem
        domain = EMBEDDED.get(self.name, UNKNOWN_DOMAIN)
        return info.model_copy(update={"name": info.name or name, "domain": info.domain or domain})

    def _absent(self) -> DataError:
        return DataError(
            f"the embedded detector {self.name!r} is not in this installation: expected "
            f"{self.weights}. Install the package again, or name another detector: "
            "--detector onnx:FILE or torchvision:MODEL."
        )


def _digest(file: str, what: str) -> str:
    if not Path(file).is_file():
        raise DataError(f"expected the detector's {what} in {file}, no such file.")
    return file_digest(Path(file))


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
        spec: `photos`, `scenes`, `onnx:FILE` and so on.
        regions: how many to keep, as `36` or `10:100`; what the detector says where it is None.
        device: auto, cpu, cuda or cuda:N.
        threads: that one picture may use on the CPU.
        half: half precision, with a torch backend on a GPU.

    Raises:
        PipelineError: not a detector, a missing extra, a damaged file, an absent device.
    """
    parsed = DetectorSpec.parse(spec)
    device = parsed.device(device)
    if half and (device == "cpu" or parsed.kind == "onnx"):
        raise SettingsError(
            "half precision needs a detector of torchvision or detectron2 and --device cuda."
        )
    network: Any = parsed.open(device, threads)
    if half:
        network.is_half = True
    return RegionDetector(network, network.info.selection.selection(regions), parsed.fingerprint())
