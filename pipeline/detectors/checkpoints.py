"""Read detector checkpoints without executing code in them, and load them key by key.

torch reads `.pth` files with `weights_only`, an unpickler that builds arrays only reads `.pkl`
files, and `.safetensors` hold no code.
"""

import importlib
import io
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.errors import DataError

Weights = dict[str, Tensor]

# What a pickled array needs, in numpy 1 and 2.
_ALLOWED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("collections", "OrderedDict"): OrderedDict,
}
_ARRAY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_ARRAY_FUNCTIONS = ("_reconstruct", "scalar")

MAX_LISTED = 8


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        if module in _ARRAY_MODULES and name in _ARRAY_FUNCTIONS:
            return getattr(importlib.import_module("numpy._core.multiarray"), name)
        if (module, name) == ("_codecs", "encode"):  # bytes of arrays that Python 2 wrote
            return _encode
        raise DataError(f"it holds {module}.{name}; only arrays are read from a pickle")


def _encode(text: str, encoding: str = "latin1") -> bytes:
    return text.encode("latin1" if encoding != "utf-8" else "utf-8")


def read_weights(path: Path) -> Weights:
    """The tensors of a checkpoint by their names, floats as float32.

    Raises:
        DataError: the file is missing, truncated, no checkpoint, or holds more than arrays.
    """
    if not path.is_file():
        raise DataError(f"expected a detector's checkpoint in {path}, there is no such file.")
    try:
        content = _read(path)
    except DataError as error:
        raise DataError(f"{path} is not read: {error}.") from error
    except (
        RuntimeError,
        OSError,
        EOFError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        ImportError,
        pickle.UnpicklingError,
        UnicodeDecodeError,
    ) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{path} is damaged, half written or no checkpoint ({type(error).__name__}: {reason}); "
            "download it again."
        ) from error
    while isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    weights = {name: _tensor(value) for name, value in _items(content) if _is_array(value)}
    if not weights:
        raise DataError(
            f"{path} holds no named arrays; expected a checkpoint of detectron2 or torchvision."
        )
    return weights


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(str(error)) from error
    if path.suffix in (".pkl", ".pickle"):
        return _ArrayUnpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    return torch.load(path, map_location="cpu", weights_only=True)


def _items(content: Any) -> list[tuple[str, Any]]:
    return list(content.items()) if isinstance(content, Mapping) else []


def _is_array(value: Any) -> bool:
    return isinstance(value, Tensor | np.ndarray)


def _tensor(value: Any) -> Tensor:
    tensor = value.detach() if isinstance(value, Tensor) else torch.from_numpy(np.array(value))
    return tensor.float() if tensor.is_floating_point() else tensor


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a checkpoint into a model; every key must fit.

    Anchors in older checkpoints of detectron2 are loaded too: detectron2 itself now drops them
    silently, and boxes are wrong where the config's anchors differ.

    Raises:
        DataError: damaged, or a key is missing, unexpected or of another shape; they are listed.
    """
    fit_weights(model, read_weights(path), path)


def fit_weights(model: nn.Module, weights: Weights, path: Path) -> None:
    """Load tensors into a model; `path` is for messages. See `load_weights`."""
    own = model.state_dict()
    anchors = {name: weights.pop(name) for name in list(weights) if ".cell_anchors." in name}
    for name in ("pixel_mean", "pixel_std"):  # the config gives them
        weights.pop(name, None)
    for name in [name for name in weights if name.endswith("num_batches_tracked")]:
        if name not in own:
            weights.pop(name)
    missing = [
        name for name in own if name not in weights and not name.endswith("num_batches_tracked")
    ]
    unexpected = [name for name in weights if name not in own]
    wrong = [
        f"{name}: the model has {list(own[name].shape)}, the file has {list(value.shape)}"
        for name, value in weights.items()
        if name in own and own[name].shape != value.shape
    ]
    if missing or unexpected or wrong:
        raise DataError(_misfit(path, missing, unexpected, wrong))
    model.load_state_dict(weights, strict=False)
    _set_anchors(model, anchors, path)


def _misfit(path: Path, missing: list[str], unexpected: list[str], wrong: list[str]) -> str:
    lines = [f"{path} does not fit the model; give the config or model that it was trained with."]
    for what, names in (
        ("missing", missing),
        ("unexpected", unexpected),
        ("of another shape", wrong),
    ):
        if names:
            more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
            lines.append(f"{len(names)} {what}: {'; '.join(names[:MAX_LISTED])}{more}")
    if any("box_predictor.cls_score" in name for name in wrong):
        lines.append("In a config, MODEL.ROI_HEADS.NUM_CLASSES is the number of classes.")
    return "\n".join(lines)


def _set_anchors(model: nn.Module, anchors: Weights, path: Path) -> None:
    buffers = {name: buffer for name, buffer in model.named_buffers() if ".cell_anchors." in name}
    for name, value in anchors.items():
        if name not in buffers or buffers[name].shape != value.shape:
            came = list(value.shape)
            raise DataError(
                f"{path} holds anchors {name} {came} that the config's model does not have; "
                "correct MODEL.ANCHOR_GENERATOR in the config."
            )
        buffers[name].copy_(value)
