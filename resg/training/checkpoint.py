"""A run folder: settings, vocabulary, what it was trained on, weights and the state to go on from.

Weights and optimiser are safetensors, all else is JSON: nothing is pickled. What to go on from lies
in a folder `last-STEP` of its own, which counts once its `state.json`, written last, is there.
"""

import json
import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline.fingerprint import differences
from resg.config import RunSettings
from resg.data.subwords import keep_encoder
from resg.data.vocabulary import Vocabulary
from resg.errors import ResgError
from resg.models.matcher import Matcher

PACKAGES = ("torch", "numpy", "h5py", "safetensors", "resg", "torch-scatter", "triton")
ENCODER = "encoder"


@dataclass(frozen=True)
class Run:
    """A run folder.

    Attributes:
        folder: where it lies.
        settings: all settings.
        vocabulary: words and edge types.
        data: where the shards lie, their fingerprints and hashes, the feature width.
        is_begun: whether its weights are to come from the folder.
    """

    folder: Path
    settings: RunSettings
    vocabulary: Vocabulary
    data: Mapping[str, Any]
    is_begun: bool = False

    @property
    def feature_width(self) -> int:
        """D of the region features it was trained on."""
        return int(self.data["feature_width"])

    def make_matcher(self) -> Matcher:
        """Its model, with the weights that training starts from."""
        return Matcher(
            self.settings.model, self.vocabulary, self.feature_width, pretrained=not self.is_begun
        )

    def shards_in(self, folder: Path | None) -> Path:
        """Where its shards lie: in a folder that is named, else where it was trained.

        Raises:
            ResgError: no folder is named, and there is none any more where it was trained.
        """
        stored = Path(self.data["shards"])
        if folder is None and not stored.is_dir():
            raise ResgError(
                f"expected the shards of {self.folder} in {stored}, there is no such folder any "
                "more. Say where they lie now: --shards DIR."
            )
        return folder or stored

    def check_data(self, data: Mapping[str, Any]) -> None:
        """Refuse shards that other detectors or parsers made.

        Raises:
            ResgError: it says what differs.
        """
        told = [
            line
            for kind in ("regions", "captions")
            for line in differences(
                {kind: data["fingerprints"][kind]}, {kind: self.data["fingerprints"][kind]}
            )
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


def create_run(
    folder: Path, settings: RunSettings, vocabulary: Vocabulary, data: Mapping[str, Any]
) -> Run:
    """Begin a run folder.

    Raises:
        ResgError: there is a run already.
    """
    if (folder / "run.json").exists():
        raise ResgError(
            f"{folder} holds a run already. Go on with it: resg train --resume {folder}; "
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
        keep_encoder(settings.model.text.encoder.removeprefix("bert:"), folder / ENCODER)
    write_json(folder / "run.json", content)
    return Run(folder, settings, vocabulary, data)


def open_run(folder: Path) -> Run:
    """Read a run folder.

    Raises:
        ResgError: it is not a run folder, or not whole.
    """
    content = read_json(folder / "run.json")
    vocabulary = Vocabulary.read(folder / "vocabulary.json")
    try:
        stored = content["settings"]
        if (folder / ENCODER).is_dir():  # the run's own copy, wherever the encoder came from
            stored["model"]["text"]["encoder"] = f"bert:{folder / ENCODER}"
        settings = RunSettings.model_validate(stored)
        return Run(folder, settings, vocabulary, content["data"], is_begun=True)
    except (KeyError, ValueError) as error:
        raise ResgError(f"{folder / 'run.json'} does not fit this version: {error}.") from error


def load_matcher(run: Run, device: torch.device) -> Matcher:
    """The model of a run with its best weights, in evaluation mode.

    Raises:
        ResgError: there are none yet, or they are another model's.
    """
    matcher = run.make_matcher()
    load_weights(matcher, run.folder / "best.safetensors")
    return matcher.to(device).eval()


def load_weights(model: nn.Module, path: Path) -> None:
    """Fill a model.

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


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write safetensors whole or not at all."""
    draft = path.with_suffix(".tmp")
    save_file({name: t.detach().contiguous().cpu() for name, t in tensors.items()}, draft)
    _commit(draft, path)


def save_checkpoint(
    folder: Path,
    tensors: Mapping[str, Mapping[str, Tensor]],
    optimiser: torch.optim.Optimizer,
    state: Mapping[str, Any],
) -> None:
    """Write all that is needed to go on, and only then remove the checkpoint before it.

    Args:
        folder: of the run.
        tensors: file name without ending to tensors: the model's weights, say.
        optimiser: AdamW, say.
        state: JSON: step, epoch, best figures, ...
    """
    own = folder / f"last-{state['step']:08d}"
    shutil.rmtree(own, ignore_errors=True)  # of a run that was stopped while it wrote
    own.mkdir()
    for name, content in tensors.items():
        save_tensors(own / f"{name}.safetensors", content)
    packed = optimiser.state_dict()
    moments = {
        f"{number}.{name}": torch.as_tensor(value)
        for number, values in packed["state"].items()
        for name, value in values.items()
    }
    save_tensors(own / "optimiser.safetensors", moments)
    save_tensors(own / "random.safetensors", _random_states())
    write_json(own / "state.json", {**state, "groups": packed["param_groups"]})
    for other in folder.glob("last-*"):
        if other != own:
            shutil.rmtree(other)


def last_checkpoint(folder: Path) -> Path:
    """The folder of a run's newest whole checkpoint.

    Raises:
        ResgError: there is none.
    """
    whole = sorted(path.parent for path in folder.glob("last-*/state.json"))
    if not whole:
        raise ResgError(
            f"expected a checkpoint last-STEP in {folder}, there is none yet: the run has not "
            "finished an epoch. Train it anew into another folder."
        )
    return whole[-1]


def load_state(checkpoint: Path, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """Restore optimiser and random states; return the JSON state.

    Raises:
        ResgError: a file is missing or damaged.
    """
    state = read_json(checkpoint / "state.json")
    random = load_tensors(checkpoint / "random.safetensors")
    torch.set_rng_state(random["cpu"])
    if "cuda" in random and torch.cuda.is_available():
        torch.cuda.set_rng_state(random["cuda"])
    packed: dict[str, Any] = {"param_groups": state.pop("groups"), "state": {}}
    for name, value in load_tensors(checkpoint / "optimiser.safetensors").items():
        number, field = name.split(".")
        packed["state"].setdefault(int(number), {})[field] = value
    optimiser.load_state_dict(packed)
    return state


def _random_states() -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def _commit(draft: Path, path: Path) -> None:
    """Give a written draft its name, once the disk has it."""
    with draft.open("rb") as stream:
        os.fsync(stream.fileno())
    draft.replace(path)


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that matter for a result."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON whole or not at all."""
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
    _commit(draft, path)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of a run.

    Raises:
        ResgError: the file is missing or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ResgError(
            f"expected a run in {path.parent}, but it has no {path.name}. "
            "Make one with: resg train --out RUN."
        ) from error
    except ValueError as error:
        raise ResgError(f"{path} is damaged: {error}. Copy the run anew.") from error


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read safetensors.

    Raises:
        ResgError: the file is missing or damaged.
    """
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise ResgError(
            f"expected weights in {path}, there are none yet. Has the run finished an epoch?"
        ) from error
    except SafetensorError as error:
        raise ResgError(f"{path} is damaged: {error}. Copy the run anew.") from error
