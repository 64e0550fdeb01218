"""Checkpoints that training resumes from, exactly.

The resume checkpoint is the folder `last-STEP/` of a run; it is valid once its `state.json`,
written last, exists. Weights, optimiser and random states are safetensors, all else is JSON.
"""

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resg.errors import ResgError
from resg.files import load_tensors, read_json, save_tensors, write_json


@dataclass
class TrainState:
    """Progress of a training run: what resuming needs beside tensors and random states.

    Attributes:
        step: optimiser steps done.
        epoch: epochs done.
        best_rsum: the best validation rSum so far.
        best_epoch: after how many epochs it was.
        stale_evaluations: evaluations since then.
        triplet_shares: what the collapse alarm has seen of the last steps.
        recall: running recall of the training batches, see `NegativeSchedule`.
        scaler: of the loss in float16.
    """

    step: int = 0
    epoch: int = 0
    best_rsum: float = -1.0
    best_epoch: int = 0
    stale_evaluations: int = 0
    triplet_shares: list[float] = field(default_factory=list)
    recall: float = 0.0
    scaler: dict[str, Any] = field(default_factory=dict)


def save_checkpoint(
    folder: Path,
    state: TrainState,
    tensors: Mapping[str, Mapping[str, Tensor]],
    optimiser: torch.optim.Optimizer,
) -> None:
    """Write a resume checkpoint, and only then remove the one before it.

    Args:
        folder: of the run.
        state: progress of training.
        tensors: file name without ending to tensors: the model's weights, say.
        optimiser: its moments are stored too.
    """
    own = folder / f"last-{state.step:08d}"
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
    write_json(own / "state.json", {**asdict(state), "groups": packed["param_groups"]})
    for other in folder.glob("last-*"):
        if other != own:
            shutil.rmtree(other)


def last_checkpoint(folder: Path) -> Path:
    """The newest valid checkpoint of a run.

    Raises:
        ResgError: there is none.
    """
    valid = sorted(path.parent for path in folder.glob("last-*/state.json"))
    if not valid:
        raise ResgError(
            f"expected a checkpoint last-STEP in {folder}, there is none: the run was stopped "
            "before its first step. Train it again into another folder."
        )
    return valid[-1]


def load_checkpoint(checkpoint: Path, optimiser: torch.optim.Optimizer) -> TrainState:
    """Restore optimiser and random states; return the progress of training.

    Raises:
        ResgError: a file is missing or damaged, or another version wrote it.
    """
    content = read_json(checkpoint / "state.json")
    random = load_tensors(checkpoint / "random.safetensors")
    packed: dict[str, Any] = {"param_groups": content.pop("groups"), "state": {}}
    for name, value in load_tensors(checkpoint / "optimiser.safetensors").items():
        number, moment = name.split(".")
        packed["state"].setdefault(int(number), {})[moment] = value
    try:
        state = TrainState(**content)
    except TypeError as error:
        raise ResgError(
            f"{checkpoint / 'state.json'} is not of this version: {error}. "
            "Resume with the version that wrote it, or train a new run."
        ) from error
    optimiser.load_state_dict(packed)
    torch.set_rng_state(random["cpu"])
    if "cuda" in random and torch.cuda.is_available():
        torch.cuda.set_rng_state(random["cuda"])
    return state


def _random_states() -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states
