"""What is here, and do shards fit a run? Versions, devices, kernel backends, checks."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.errors import PipelineError
from resg.checkpoint import load_matcher, open_run, package_versions
from resg.errors import ResgError
from resg.kernels.graph_attention import BACKENDS as ATTENTION_BACKENDS
from resg.kernels.graph_attention.backends import choose_backend
from resg.splits import SplitReaders


@dataclass(frozen=True)
class Diagnosis:
    """What was found.

    Attributes:
        facts: name to what is here.
        faults: what is wrong, a sentence each; empty where all is well.
    """

    facts: Mapping[str, str]
    faults: tuple[str, ...]


def diagnose(run_folder: Path | None = None, shards: Path | None = None) -> Diagnosis:
    """Look at packages, devices and kernels; check shards against a run where both are given.

    Args:
        run_folder: a run to open with its best weights, or None.
        shards: where its shards lie, if not where it was trained.
    """
    facts = dict(package_versions())
    facts["devices"] = ", ".join(_devices())
    for backend in ATTENTION_BACKENDS:
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
        choose_backend(backend, device, torch.float32, 128)
    except ValueError as error:
        return str(error)
    return "available"


def _devices() -> list[str]:
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return [*gpus, f"cpu ({torch.get_num_threads()} threads)"]


def _check_run(folder: Path, shards: Path | None) -> dict[str, str]:
    run = open_run(folder)
    readers = SplitReaders.open(run.shards_in(shards), "train")
    run.check_data({"fingerprints": readers.fingerprints()})
    run.check_hashes(readers.hashes())
    load_matcher(run, torch.device("cpu"))
    made_by = readers.regions.settings
    detector = (
        f"{made_by['detector']} for {made_by['domain']}" if "domain" in made_by else "not stated"
    )
    whole = f"{folder}: whole, its {len(readers.hashes())} training shards are as they were"
    return {"run": whole, "detector": detector}
