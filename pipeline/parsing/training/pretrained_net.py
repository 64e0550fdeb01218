"""The scene-graph network over a pretrained encoder of word pieces (BERT), in PyTorch.

B captions of at most P pieces and L tokens; d width.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from pipeline.parsing.training.scene_graph_net import Batch, GraphHeads, NetSettings


@dataclass(frozen=True)
class EncoderSettings:
    """Sizes of a BERT encoder; the defaults are MiniLM's (Wang et al. 2020), 6 layers of 384."""

    pieces: int
    width: int = 384
    heads: int = 12
    layers: int = 6
    inner: int = 1536
    positions: int = 128
    dropout: float = 0.1


class _Layer(nn.Module):
    """Self-attention and a feed-forward part, each with a residual and a norm behind it."""

    def __init__(self, s: EncoderSettings) -> None:
        super().__init__()
        self.heads, self.dropout = s.heads, s.dropout
        self.query, self.key, self.value, self.output = (
            nn.Linear(s.width, s.width) for _ in range(4)
        )
        self.attention_norm = nn.LayerNorm(s.width, eps=1e-12)
        self.inner, self.outer = nn.Linear(s.width, s.inner), nn.Linear(s.inner, s.width)
        self.norm = nn.LayerNorm(s.width, eps=1e-12)
        self.drop = nn.Dropout(s.dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        dropout = self.dropout if self.training else 0.0
        seen = F.scaled_dot_product_attention(q, k, v, mask, dropout)
        x = self.attention_norm(x + self.drop(self.output(seen.transpose(1, 2).flatten(-2))))
        return self.norm(x + self.drop(self.outer(F.gelu(self.inner(x)))))


class Encoder(nn.Module):
    """BERT without token types: word pieces to vectors, `[B, P]` to `[B, P, d]`."""

    def __init__(self, settings: EncoderSettings) -> None:
        super().__init__()
        s = self.settings = settings
        self.pieces = nn.Embedding(s.pieces, s.width, padding_idx=0)
        self.positions = nn.Embedding(s.positions, s.width)
        self.norm = nn.LayerNorm(s.width, eps=1e-12)
        self.layers = nn.ModuleList(_Layer(s) for _ in range(s.layers))
        self.drop = nn.Dropout(s.dropout)

    def forward(self, pieces: Tensor, lengths: Tensor) -> Tensor:
        """Pieces in context, `[B, P, d]`; what stands behind `lengths` is padding."""
        place = torch.arange(pieces.shape[1], device=pieces.device)
        mask = (place < lengths[:, None])[:, None, None]
        x = self.drop(self.norm(self.pieces(pieces) + self.positions(place)))
        for layer in self.layers:
            x = layer(x, mask)
        return x


_NAMES = {
    "attention.self.": "",
    "attention.output.dense": "output",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "inner",
    "output.dense": "outer",
    "output.LayerNorm": "norm",
    "encoder.layer": "layers",
}
"""Parts of Hugging Face's names and what they are called here; the first that fits counts."""


def encoder_weights(weights: Mapping[str, Tensor], rows: Iterable[int]) -> dict[str, Tensor]:
    """A BERT's weights under the names of `Encoder`.

    Args:
        weights: by Hugging Face's names.
        rows: of its table of word pieces that are kept, row 0 for padding among them.
    """
    ours = {}
    for name, weight in weights.items():
        if not name.startswith("encoder.layer."):
            continue
        for theirs, here in _NAMES.items():
            name = name.replace(theirs, here)
        ours[name] = weight
    token_type = weights["embeddings.token_type_embeddings.weight"][0]
    pieces = weights["embeddings.word_embeddings.weight"][list(rows)] + token_type
    ours |= {
        "pieces.weight": pieces,
        "positions.weight": weights["embeddings.position_embeddings.weight"],
        "norm.weight": weights["embeddings.LayerNorm.weight"],
        "norm.bias": weights["embeddings.LayerNorm.bias"],
    }
    return ours


class PretrainedNet(GraphHeads):
    """The scene-graph network over a pretrained encoder; it needs no parser.

    A token is the mean of its first and last piece.
    """

    def __init__(self, settings: NetSettings, encoder: EncoderSettings) -> None:
        super().__init__(settings)
        self.encoder = Encoder(encoder)

    def encode(self, batch: Batch) -> Tensor:
        """Tokens in context, `[B, L, d]`."""
        assert batch.pieces is not None
        assert batch.piece_lengths is not None
        assert batch.piece_ends is not None
        with torch.autocast(batch.pieces.device.type, torch.bfloat16, batch.pieces.is_cuda):
            seen = self.encoder(batch.pieces, batch.piece_lengths).float()
        rows = torch.arange(len(seen), device=seen.device)[:, None]
        first, last = batch.piece_ends.unbind(-1)
        return self.drop(0.5 * (seen[rows, first] + seen[rows, last]))


class LowRank(nn.Module):
    """A change of a weight matrix by a product of low rank (Hu et al. 2021), for `parametrize`."""

    def __init__(self, weight: Tensor, rank: int, scale: float = 2.0) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(rank, weight.shape[1]) / weight.shape[1] ** 0.5)
        self.up = nn.Parameter(torch.zeros(weight.shape[0], rank))
        self.scale = scale

    def forward(self, weight: Tensor) -> Tensor:
        """The changed matrix."""
        return weight + self.scale * (self.up @ self.down)


def change_by_low_rank(encoder: Encoder, rank: int) -> None:
    """Freeze the encoder but for a low-rank change of each of its layers' matrices."""
    for parameter in encoder.parameters():
        parameter.requires_grad_(False)
    linear = [part for part in encoder.layers.modules() if isinstance(part, nn.Linear)]
    for part in linear:
        change = LowRank(part.weight, rank).to(part.weight.device)
        parametrize.register_parametrization(part, "weight", change)
