"""Pair scores as others write them: the obvious form, SCAN's evaluation, and the bare products."""

import ast
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from resg.kernels.pair_scores import PairSettings

REGIONS, WIDTH = 36, 1024
NORMALISE = "clipped_l2"  # as SCAN does; ours computes the same in every comparison

ScanScores = Callable[[Tensor, Tensor, list[int], str], Tensor]
"""Images `[I, R, d]`, padded captions `[C, W, d]`, their lengths, direction: scores `[I, C]`."""


def product_alone(regions: Tensor, words: Tensor, block: int = 8192) -> None:
    """The bare product of all nodes, in blocks that are thrown away."""
    out = None
    for first in range(0, len(words), block):
        columns = words[first : first + block].T
        for row in range(0, len(regions), block):
            rows = regions[row : row + block]
            if out is None or out.shape != (len(rows), columns.shape[1]):
                out = rows.new_empty(len(rows), columns.shape[1])
            torch.mm(rows, columns, out=out)


def three_products(V: Tensor, T: Tensor) -> None:
    """The bare products of a training step."""
    rows, columns = V.detach().flatten(0, 1), T.detach().flatten(0, 1)
    S = rows @ columns.T
    torch.mm(S, columns)
    torch.mm(S.T, rows)


def obvious_scores(V: Tensor, T: Tensor, settings: PairSettings) -> Tensor:
    """The obvious form, every attended vector formed: `[I, R, d]`, `[C, W, d]` to `[I, C]`."""
    S = torch.einsum("ird,cwd->icrw", V, T)
    L = torch.nn.functional.leaky_relu(S, 0.1)
    words_attend, regions_attend = settings.temperatures
    attention = torch.softmax(words_attend * torch.nn.functional.normalize(L, dim=3), dim=2)
    attended = torch.einsum("icrw,ird->icwd", attention, V)
    t2i = torch.cosine_similarity(attended, T[None], dim=3).mean(2)
    attention = torch.softmax(regions_attend * torch.nn.functional.normalize(L, dim=2), dim=3)
    attended = torch.einsum("icrw,cwd->icrd", attention, T)
    i2t = torch.cosine_similarity(attended, V[:, None], dim=3).mean(2)
    return (t2i + i2t) / 2


def scan_loop(images: Tensor, captions: Tensor, lengths: list[int], direction: str) -> Tensor:
    """SCAN's evaluation of one shard, a caption at a time against all images, step by step its own.

    As in the released code of Lee et al. 2018: the caption repeated for every image, logits,
    LeakyReLU and L2, softmax, attended vectors, cosines, mean.
    """
    columns = []
    for caption, length in enumerate(lengths):
        words = captions[caption, :length].unsqueeze(0).repeat(len(images), 1, 1)
        query, context, temperature = (
            (words, images, 9.0) if direction == "t2i" else (images, words, 4.0)
        )
        logits = torch.nn.functional.leaky_relu(context @ query.transpose(1, 2), 0.1)
        logits = logits / (logits.pow(2).sum(2, keepdim=True).sqrt() + 1e-8)
        attention = torch.softmax(logits.transpose(1, 2).contiguous() * temperature, dim=2)
        attended = attention @ context
        along = (query * attended).sum(2)
        norms = query.norm(2, dim=2) * attended.norm(2, dim=2)
        columns.append((along / norms.clamp(min=1e-8)).mean(1, keepdim=True))
    return torch.cat(columns, 1)


def released_scan(model: Path, pooling: str = "Mean", lambda_lse: float = 6.0) -> ScanScores:
    """SCAN's own functions, out of `model.py` of its released repository (kuanghuei/SCAN).

    The functions alone are taken: the file as a whole asks for a PyTorch of 2018.
    """
    functions: list[ast.stmt] = [
        node for node in ast.parse(model.read_text()).body if isinstance(node, ast.FunctionDef)
    ]
    released: dict[str, Any] = {"torch": torch, "nn": torch.nn}
    exec(compile(ast.Module(functions, []), str(model), "exec"), released)

    def scores(images: Tensor, captions: Tensor, lengths: list[int], direction: str) -> Tensor:
        settings = SimpleNamespace(
            raw_feature_norm="clipped_l2norm",
            lambda_softmax=9.0 if direction == "t2i" else 4.0,
            agg_func=pooling,
            lambda_lse=lambda_lse,
        )
        return released[f"xattn_score_{direction}"](images, captions, lengths, settings)

    return scores
