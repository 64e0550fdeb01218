"""A run folder: settings, vocabulary, the data it was trained on, and weights.

Weights are safetensors, all else is JSON: nothing is pickled. The checkpoints that training resumes
from are written by `resg.training.checkpoint`. A matcher that ships with the package is such a
folder too, made by `export_run`.
"""

import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from pipeline.fingerprint import differences
from resg.config import RunSettings
from resg.data.subwords import save_encoder_config
from resg.data.vocabulary import Vocabulary
from resg.errors import ResgError
from resg.files import load_tensors, read_json, save_tensors, write_json
from resg.models.matcher import Matcher
from resg.presets import describe_invalid

PACKAGES = ("torch", "numpy", "h5py", "safetensors", "resg", "torch-scatter", "triton")
ENCODER = "encoder"
BEST_WEIGHTS = "best.safetensors"

SHIPPED = {"photos": Path(__file__).parent / "models" / "photos"}
"""Matchers that come with the package: `photos` for photographs, on the detector of that name."""


@dataclass(frozen=True)
class RunFolder:
    """What a run folder says of a run.

    Attributes:
        folder: its path.
        settings: all settings.
        vocabulary: words and edge types.
        data: path of the shards (None in an exported run), their fingerprints and hashes, the
            settings that the regions were made with, the feature width, and the counts of captions
            that are left out by split.
        has_weights: the matcher's weights are loaded from the folder, so a Hugging Face encoder
            need not be loaded with its pretrained ones.
    """

    folder: Path
    settings: RunSettings
    vocabulary: Vocabulary
    data: Mapping[str, Any]
    has_weights: bool = False

    @property
    def feature_width(self) -> int:
        """D of the region features it was trained on."""
        return int(self.data["feature_width"])

    @property
    def region_settings(self) -> Mapping[str, Any]:
        """Settings that its regions were made with; empty for imported ones and older runs."""
        return self.data.get("region_settings", {})

    def make_matcher(self) -> Matcher:
        """Its matcher, with the weights that training starts from."""
        return Matcher(
            self.settings.model,
            self.vocabulary,
            self.feature_width,
            pretrained=not self.has_weights,
        )

    def shards_in(self, folder: Path | None) -> Path:
        """Path of its shards: the given folder, else the one that it was trained on.

        Raises:
            ResgError: no folder is given, and the one of training no longer exists.
        """
        if folder is not None:
            return folder
        if self.data["shards"] is None:
            raise ResgError(
                f"{self.folder} was exported without its shards. Name some of the same detector "
                "and parser: --shards DIR."
            )
        stored = Path(self.data["shards"])
        if not stored.is_dir():
            raise ResgError(
                f"expected the shards of {self.folder} in {stored}, that folder no longer exists. "
                "Say where they are now: --shards DIR."
            )
        return stored

    def check_fingerprints(self, fingerprints: Mapping[str, Any]) -> None:
        """Refuse shards of other detectors or parsers.

        Args:
            fingerprints: of the `regions`, of the `captions`, or of both.

        Raises:
            ResgError: it says what differs.
        """
        own = self.data["fingerprints"]
        told = [
            line
            for kind, found in fingerprints.items()
            for line in differences({kind: found}, {kind: own[kind]})
        ]
        if told:
            raise ResgError(
                f"the shards are not those that {self.folder} was trained on: {told[0]}.\n"
                "Use shards made with the same detector and parser (--shards), or train a new run."
            )

    def check_hashes(self, hashes: Mapping[str, str]) -> None:
        """Refuse training shards that are not, byte for byte, those of the run.

        Args:
            hashes: SHA-256 of each shard of the training split by file name.

        Raises:
            ResgError: it names some that differ.
        """
        known = self.data["hashes"]
        changed = {name for name in {*known, *hashes} if hashes.get(name) != known.get(name)}
        if changed:
            raise ResgError(
                f"{len(changed)} shards are not those that {self.folder} was trained on: "
                f"{', '.join(sorted(changed)[:3])}. Train a new run, or use the old shards "
                "(--shards)."
            )

    def check_left_out(self, counts: Mapping[str, Mapping[str, int]]) -> None:
        """Refuse to resume on data that leaves out other captions for want of regions.

        Args:
            counts: split to how many `captions` of how many `images` are left out now.

        Raises:
            ResgError: it says how many there were.
        """
        nothing = {"captions": 0, "images": 0}  # earlier versions trained on nothing less
        for split, now in counts.items():
            before = self.data.get("left_out", {}).get(split, nothing)
            if now != before:
                raise ResgError(
                    f"{self.folder} was trained without {before['captions']} captions of "
                    f"{before['images']} images without regions in split {split!r}; now there are "
                    f"{now['captions']} of {now['images']}.\n"
                    "Use the old shards (--shards), or train a new run."
                )


def create_run(
    folder: Path, settings: RunSettings, vocabulary: Vocabulary, data: Mapping[str, Any]
) -> RunFolder:
    """Create a run folder.

    Raises:
        ResgError: there is a run already.
    """
    if (folder / "run.json").exists():
        raise ResgError(
            f"{folder} holds a run already. Resume it: resg train --resume {folder}; "
            "or choose another folder: --out."
        )
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary.write(folder / "vocabulary.json")
    content = {
        "settings": settings.model_dump(mode="json"),
        "data": data,
        "versions": package_versions(),
    }
    if settings.model.text.encoder != "gru":
        save_encoder_config(settings.model.text.encoder.removeprefix("bert:"), folder / ENCODER)
    write_json(folder / "run.json", content)
    return RunFolder(folder, settings, vocabulary, data)


def runs_in(folder: Path) -> list[Path]:
    """The runs of a folder that `resg train --seeds` made, in order; else the folder itself."""
    return sorted(folder.glob("seed-*"), key=lambda path: (len(path.name), path.name)) or [folder]


def open_run(folder: Path) -> RunFolder:
    """Read a run folder.

    Raises:
        ResgError: it is not a run folder, incomplete, or of another version of this package.
    """
    content = read_json(folder / "run.json")
    vocabulary = Vocabulary.read(folder / "vocabulary.json")
    try:
        stored = content["settings"]
        if (folder / ENCODER).is_dir():  # the run's own copy, wherever the encoder came from
            stored["model"]["text"]["encoder"] = f"bert:{folder / ENCODER}"
        settings = RunSettings.model_validate(stored)
        return RunFolder(folder, settings, vocabulary, content["data"], has_weights=True)
    except (KeyError, ValidationError) as error:
        told = describe_invalid(error) if isinstance(error, ValidationError) else f"no {error}"
        raise ResgError(
            f"{folder / 'run.json'} is not of this version: {told}\n"
            "Train the run again, or use the version that trained it (run.json, `versions`)."
        ) from error


def run_path(run: str | Path) -> Path:
    """Folder of a run, given by its path or by the name of one that ships with the package.

    A string that is such a name means the shipped one; a folder of that name is given as a `Path`.

    Raises:
        ResgError: the shipped one is not in this installation.
    """
    folder = SHIPPED.get(run) if isinstance(run, str) else None
    if folder is None:
        return Path(run)
    missing = [name for name in ("run.json", BEST_WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise ResgError(
            f"the matcher {run!r} is not in this installation: expected {folder / missing[0]}. "
            "Install the package again, or name a run of your own: --run RUN."
        )
    return folder


def export_run(run: RunFolder, out: Path, *, half: bool = False) -> None:
    """Write what is needed to use a run, without checkpoints and without paths of this machine.

    Args:
        run: the run.
        out: folder to create.
        half: store weights in half precision; a matcher computes in single precision all the same.

    Raises:
        ResgError: `out` holds a run, the run has no weights yet, or one is too large for half
            precision.
    """
    if (out / "run.json").exists():
        raise ResgError(f"{out} holds a run already. Choose another folder: --out.")
    weights = load_tensors(run.folder / BEST_WEIGHTS)
    if half:
        weights = {n: t.half() if t.is_floating_point() else t for n, t in weights.items()}
        infinite = [name for name, tensor in weights.items() if not tensor.isfinite().all()]
        if infinite:
            raise ResgError(
                f"the weights {infinite[:3]} of {run.folder} are too large for half precision. "
                "Leave out --half."
            )
    content = read_json(run.folder / "run.json")
    content["data"] |= {"shards": None}
    out.mkdir(parents=True, exist_ok=True)
    run.vocabulary.write(out / "vocabulary.json")
    if (run.folder / ENCODER).is_dir():
        shutil.copytree(run.folder / ENCODER, out / ENCODER, dirs_exist_ok=True)
    save_tensors(out / BEST_WEIGHTS, weights)
    write_json(out / "run.json", content)


def load_matcher(run: RunFolder, device: torch.device) -> Matcher:
    """The matcher of a run with its best weights, in evaluation mode.

    Raises:
        ResgError: there are none yet, or they are another model's.
    """
    matcher = run.make_matcher()
    load_weights(matcher, run.folder / BEST_WEIGHTS)
    return matcher.to(device).eval()


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a model's weights.

    Raises:
        ResgError: the file is missing, damaged, or of a model with other parts.
    """
    weights = load_tensors(path)
    own = model.state_dict()
    missing, unexpected = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    misshapen = [n for n in own.keys() & weights.keys() if own[n].shape != weights[n].shape]
    if missing or unexpected or misshapen:
        raise ResgError(
            f"the weights in {path} are another model's: missing {missing[:3]}, unexpected "
            f"{unexpected[:3]}, of another shape {sorted(misshapen)[:3]}.\n"
            "Is the checkpoint of this run's preset?"
        )
    model.load_state_dict(weights)


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that matter for a result."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions
