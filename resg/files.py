"""Files of a run: JSON and safetensors, each written whole or not at all."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from resg.errors import ResgError


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object whole or not at all."""
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
    _commit(draft, path)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of a run.

    Raises:
        ResgError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ResgError(
            f"expected a run in {path.parent}, but it has no {path.name}. "
            "Make one with: resg train --out RUN."
        ) from error
    except ValueError as error:
        raise ResgError(f"{path} is damaged: {error}. Copy the run again.") from error


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write safetensors whole or not at all."""
    draft = path.with_suffix(".tmp")
    save_file({name: t.detach().contiguous().cpu() for name, t in tensors.items()}, draft)
    _commit(draft, path)


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
        raise ResgError(f"{path} is damaged: {error}. Copy the run again.") from error


def _commit(draft: Path, path: Path) -> None:
    """Rename a finished draft, after the disk has it."""
    with draft.open("rb") as stream:
        os.fsync(stream.fileno())
    draft.replace(path)
