"""From region features and words to nodes.

M nodes of all graphs, N graphs, D feature width, d width.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resg.config import ImageEncoderSettings, TextEncoderSettings
from resg.data.pretrained import import_transformers, load_pretrained
from resg.graphs.ragged import Layout
from resg.models.batch_norm import RowBatchNorm
from resg.models.recurrent import run_gru

BOX_WIDTH = 7


class RegionEncoder(nn.Module):
    """Region features to region nodes: `LN(W_f f) + W_b g(box)`, and what presets turn on or off.

    Args:
        feature_width: D.
        width: d.
        settings: layer norm, boxes, perceptron, start.
    """

    def __init__(self, feature_width: int, width: int, settings: ImageEncoderSettings) -> None:
        super().__init__()
        self.standardise = Standardise(feature_width) if settings.standardise else None
        self.project = nn.Linear(feature_width, width)
        self.norm = nn.LayerNorm(width) if settings.layer_norm else nn.Identity()
        self.boxes = nn.Linear(BOX_WIDTH, width) if settings.boxes else None
        self.mlp = (
            Perceptron(feature_width, width, has_norm=settings.mlp_norm) if settings.mlp else None
        )
        if settings.start == "xavier":
            nn.init.xavier_uniform_(self.project.weight)
            nn.init.zeros_(self.project.bias)

    def forward(
        self,
        features_MD: Tensor,
        boxes_M4: Tensor | None,
        image_sizes_I2: Tensor | None,
        layout: Layout,
    ) -> Tensor:
        """`[M, D]` features (and `[M, 4]` boxes in pixels, where there are any) to `[M, d]`."""
        features_MD = features_MD.to(self.project.weight.dtype)
        if self.standardise is not None:
            features_MD = self.standardise(features_MD)
        nodes = self.norm(self.project(features_MD))
        if self.mlp is not None:
            nodes = nodes + self.mlp(features_MD, layout)
        if self.boxes is not None and boxes_M4 is not None and image_sizes_I2 is not None:
            sizes_M2 = image_sizes_I2[layout.group]
            nodes = nodes + self.boxes(box_geometry(boxes_M4, sizes_M2))
        return nodes


class Standardise(nn.Module):
    """Features with mean 0 and deviation 1 over the regions of the training split.

    A detector's features are sums of what is nowhere negative, so most of their length is the mean.

    Args:
        feature_width: D.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, feature_width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(feature_width))
        self.register_buffer("deviation", torch.ones(feature_width))

    def fit(self, batches: Iterable[Tensor]) -> None:
        """Take mean and deviation from features; one that never varies is only shifted.

        Args:
            batches: `[M, D]` each.
        """
        sums = squares = count = 0.0
        for features_MD in batches:
            features_MD = features_MD.double()
            count += len(features_MD)
            sums, squares = sums + features_MD.sum(0), squares + features_MD.square().sum(0)
        mean = torch.as_tensor(sums) / count
        deviation = (torch.as_tensor(squares) / count - mean.square()).clamp_min(0).sqrt()
        self.mean.copy_(mean)
        self.deviation.copy_(deviation.where(deviation > 1e-6, 1))

    def forward(self, features_MD: Tensor) -> Tensor:
        """`[M, D]` to `[M, D]`."""
        return (features_MD - self.mean) / self.deviation


class Perceptron(nn.Module):
    """Perceptron of two layers over region features (Chen et al. 2021).

    Args:
        feature_width: D.
        width: d; the hidden layer has half of it.
        has_norm: normalise the hidden units over the regions of the batch, before the ReLU.
    """

    def __init__(self, feature_width: int, width: int, *, has_norm: bool) -> None:
        super().__init__()
        # the norm takes the mean away, and a bias with it
        self.hidden = nn.Linear(feature_width, width // 2, bias=not has_norm)
        self.norm = RowBatchNorm(width // 2) if has_norm else None
        self.out = nn.Linear(width // 2, width)

    def forward(self, features_MD: Tensor, layout: Layout) -> Tensor:
        """`[M, D]` features to `[M, d]`."""
        hidden = self.hidden(features_MD)
        if self.norm is not None:
            hidden = self.norm(hidden, layout)
        return self.out(hidden.relu())


def box_geometry(boxes_M4: Tensor, sizes_M2: Tensor) -> Tensor:
    """`[M, 7]` corners, width, height and area of boxes, as shares of their image.

    Args:
        boxes_M4: corners (x0, y0, x1, y1) in pixels.
        sizes_M2: height and width of each box's image in pixels.
    """
    height_M, width_M = sizes_M2.float().unbind(-1)
    corners_M4 = boxes_M4.float() / torch.stack([width_M, height_M, width_M, height_M], -1)
    sides_M2 = corners_M4[:, 2:] - corners_M4[:, :2]
    return torch.cat([corners_M4, sides_M2, sides_M2.prod(-1, keepdim=True)], dim=-1)


class WordEncoder(nn.Module):
    """Word embedding and a GRU in one or both directions (their mean is the node).

    Args:
        num_words: size of the vocabulary.
        width: d.
        settings: word width, directions, dropout.
    """

    def __init__(self, num_words: int, width: int, settings: TextEncoderSettings) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_words, settings.word_width)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        self.dropout = nn.Dropout(settings.dropout)
        self.gru = nn.GRU(
            settings.word_width, width, batch_first=True, bidirectional=settings.bidirectional
        )

    def forward(self, words_M: Tensor, layout: Layout) -> Tensor:
        """`[M]` word indices and the captions' layout to `[M, d]`."""
        return run_gru(self.gru, self.dropout(self.embedding(words_M)), layout)


class TransformerWordEncoder(nn.Module):
    """A Hugging Face encoder; a word's node is the mean of its subwords, projected to the width.

    Args:
        name: name or folder of the model, for `transformers`.
        width: d.
        pretrained: load the model's weights; else it has the same parts with random ones.

    Raises:
        ResgError: transformers is not installed, or the model cannot be loaded.
    """

    def __init__(self, name: str, width: int, *, pretrained: bool = True) -> None:
        super().__init__()
        self.encoder: Any = (
            load_pretrained("AutoModel", name)
            if pretrained
            else import_transformers().AutoModel.from_config(load_pretrained("AutoConfig", name))
        )
        self.project = nn.Linear(self.encoder.config.hidden_size, width)

    def forward(self, subwords: Tensor, word_of_subword: Tensor, num_words: int) -> Tensor:
        """Nodes of all words.

        Args:
            subwords: `[N, P]` token ids, -1 in the padding.
            word_of_subword: `[N, P]` row of each subword's word, -1 for special tokens.
            num_words: M.
        """
        is_subword = subwords >= 0
        states = self.encoder(
            input_ids=subwords.clamp_min(0), attention_mask=is_subword.long()
        ).last_hidden_state
        is_word = word_of_subword >= 0
        rows, index = states[is_word], word_of_subword[is_word]
        sums = rows.new_zeros((num_words, rows.shape[1])).index_add(0, index, rows)
        counts = torch.bincount(index, minlength=num_words).clamp_min(1)
        return self.project(sums / counts[:, None].to(sums.dtype))


def unit(rows: Tensor) -> Tensor:
    """Rows of unit length in float32; a row of zeros stays 0."""
    return F.normalize(rows.float(), dim=-1)
