import io
import os
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pipeline.detectors.checkpoints import fit_weights, load_weights, read_weights
from pipeline.errors import DataError

ARRAYS = {"conv.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "conv.bias": np.ones(2)}


@pytest.mark.parametrize("protocol", [2, 4])
def test_pickled_arrays_are_read(tmp_path, protocol):
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"model": ARRAYS, "__author__": "them"}, protocol=protocol))
    weights = read_weights(path)
    assert set(weights) == set(ARRAYS)
    assert torch.equal(weights["conv.weight"], torch.tensor(ARRAYS["conv.weight"]))
    assert weights["conv.bias"].dtype == torch.float32


class Opens:
    def __reduce__(self):
        return os.system, ("true",)


@pytest.mark.parametrize("name", ["evil.pkl", "evil.pth"])
def test_a_file_that_would_run_something_is_refused(tmp_path, name):
    path = tmp_path / name
    if name.endswith(".pkl"):
        path.write_bytes(pickle.dumps({"model": ARRAYS, "more": Opens()}))
    else:
        torch.save({"model": Opens()}, path)
    with pytest.raises(DataError, match=r"evil"):
        read_weights(path)


def test_a_state_in_half_precision_becomes_float32(tmp_path):
    path = tmp_path / "model.pth"
    torch.save({"model": {"a": torch.ones(2, dtype=torch.float16)}, "iteration": 3}, path)
    assert read_weights(path)["a"].dtype == torch.float32


@pytest.mark.parametrize("suffix", [".pth", ".pkl", ".safetensors"])
def test_a_half_written_file_is_told(tmp_path, suffix):
    whole = io.BytesIO()
    tensors = {"a": torch.randn(100, 100)}
    path = tmp_path / f"model{suffix}"
    if suffix == ".pth":
        torch.save({"model": tensors}, whole)
    elif suffix == ".pkl":
        pickle.dump({"model": {"a": tensors["a"].numpy()}}, whole)
    else:
        save_file(tensors, path)
        whole.write(path.read_bytes())
    path.write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    with pytest.raises(DataError, match="half written"):
        read_weights(path)


def test_absent_and_empty_files_are_told(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_weights(tmp_path / "absent.pth")
    torch.save({"model": {}, "iteration": 1}, tmp_path / "empty.pth")
    with pytest.raises(DataError, match="no named arrays"):
        read_weights(tmp_path / "empty.pth")


def test_missing_unexpected_and_misshapen_keys_are_listed(tmp_path):
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 5))
    path = tmp_path / "model.pth"
    torch.save(
        {"0.weight": torch.ones(2, 3), "1.weight": torch.ones(4, 2), "x": torch.ones(1)}, path
    )
    with pytest.raises(DataError) as told:
        load_weights(model, path)
    message = str(told.value)
    assert "missing: 0.bias; 1.bias" in message
    assert "unexpected: x" in message
    assert "1.weight: the model has [5, 2], the file has [4, 2]" in message


class WithAnchors(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.generator = nn.Module()
        self.generator.cell_anchors = nn.Module()
        self.generator.cell_anchors.register_buffer("0", torch.zeros(3, 4), persistent=False)


def test_anchors_of_an_older_checkpoint_are_taken(tmp_path):
    model, anchors = WithAnchors(), torch.arange(12.0).reshape(3, 4)
    weights = model.state_dict() | {"generator.cell_anchors.0": anchors}
    fit_weights(model, dict(weights), tmp_path / "old.pth")
    assert torch.equal(dict(model.named_buffers())["generator.cell_anchors.0"], anchors)
    wrong = model.state_dict() | {"generator.cell_anchors.0": anchors[:2]}
    with pytest.raises(DataError, match="ANCHOR_GENERATOR"):
        fit_weights(model, wrong, tmp_path / "old.pth")
