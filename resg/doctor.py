"""Diagnosis of an installation and of a run: versions, devices, kernels, weights, shards."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.errors import PipelineError
from resg.data.splits import SplitReaders
from resg.devices import device_name
from resg.errors import ResgError
from resg.kernels.graph_attention import BACKENDS
from resg.run_folder import load_matcher, open_run, package_versions


@dataclass(frozen=True)
class Diagnosis:
    """What was found.

    Attributes:
        facts: name to what is installed or can run.
        faults: what is wrong, one sentence each; empty if nothing is.
    """

    facts: Mapping[str, str]
    faults: tuple[str, ...]


def diagnose(run_folder: Path | None = None, shards: Path | None = None) -> Diagnosis:
    """Look up packages, devices and kernels; check a run and its training shards if one is given.

    Args:
        run_folder: a run to open with its best weights, or None.
        shards: folder of its shards, if not the one of training.
    """
    facts = dict(package_versions())
    facts["devices"] = ", ".join(_devices())
    for backend in BACKENDS.names:
        facts[f"kernels: {backend}"] = _availability(backend)
    faults: list[str] = []
    if run_folder is not None:
        try:
            facts |= _check_run(run_folder, shards)
        except (ResgError, PipelineError) as error:
            faults.append(str(error))
    return Diagnosis(facts, tuple(faults))


def _availability(backend: str) -> str:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        BACKENDS.choose(backend, device, torch.float32, 128)
    except ValueError as error:
        return str(error)
    return "available"


def _devices() -> list[str]:
    gpus = [torch.device("cuda", number) for number in range(torch.cuda.device_count())]
    return [device_name(device) for device in (*gpus, torch.device("cpu"))]


def _check_run(folder: Path, shards: Path | None) -> dict[str, str]:
    run = open_run(folder)
    readers = SplitReaders.open(run.shards_in(shards), "train")
    run.check_fingerprints(readers.fingerprints())
    run.check_hashes(readers.hashes())
    load_matcher(run, torch.device("cpu"))
    made_by = readers.regions.settings
    detector = (
        f"{made_by['detector']} for {made_by['domain']}" if "domain" in made_by else "not stated"
    )
    complete = f"{folder}: complete, its {len(readers.hashes())} training shards are unchanged"
    return {"run": complete, "detector": detector}
