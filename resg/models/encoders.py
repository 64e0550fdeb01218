"""From regions and words to nodes that know their context.

M nodes of all graphs, N graphs, D feature width, d width, H heads, E edges, K types an edge.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resg.config import GraphEncoderSettings, ImageEncoderSettings, TextEncoderSettings
from resg.data.subwords import import_transformers
from resg.errors import ResgError
from resg.graphs.ragged import Layout
from resg.graphs.visual import Edges
from resg.kernels.graph_attention import graph_attention
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
        nodes = self.norm(self.project(features_MD))
        if self.mlp is not None:
            nodes = nodes + self.mlp(features_MD, layout)
        if self.boxes is not None and boxes_M4 is not None and image_sizes_I2 is not None:
            sizes_M2 = image_sizes_I2[layout.group]
            nodes = nodes + self.boxes(box_geometry(boxes_M4, sizes_M2))
        return nodes


class Perceptron(nn.Module):
    """Perceptron of two layers over region features (Chen et al. 2021).

    Args:
        feature_width: D.
        width: d; the hidden layer has half of it.
        has_norm: normalise the hidden units over the regions of the batch, before the ReLU.
    """

    def __init__(self, feature_width: int, width: int, *, has_norm: bool) -> None:
        super().__init__()
        self.hidden = nn.Linear(feature_width, width // 2)
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
        transformers = import_transformers()
        try:
            self.encoder: Any = (
                transformers.AutoModel.from_pretrained(name)
                if pretrained
                else transformers.AutoModel.from_config(
                    transformers.AutoConfig.from_pretrained(name)
                )
            )
        except OSError as error:
            raise ResgError(
                f"expected a Hugging Face encoder under {name!r}, got: {error}. "
                "Give a folder that holds the model: --set model.text.encoder=bert:FOLDER."
            ) from error
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


class GraphEncoder(nn.Module):
    """Layers of graph attention, then the contextual order.

    Args:
        width: d.
        num_edge_types: types of edges, the padding type 0 included.
        geometry_width: numbers of an edge's geometry, 0 for none.
        settings: layers, heads, dropout, content, contextual order.
    """

    def __init__(
        self, width: int, num_edge_types: int, geometry_width: int, settings: GraphEncoderSettings
    ) -> None:
        super().__init__()
        self.num_edge_types = num_edge_types
        self.layers = nn.ModuleList(
            GraphLayer(width, num_edge_types, geometry_width, settings)
            for _ in range(settings.layers)
        )
        self.order = ContextualOrder(width) if settings.contextual_order else None

    def forward(self, nodes_Md: Tensor, edges: Edges | None, layout: Layout) -> Tensor:
        """`[M, d]` nodes, their edges (None only where there are no layers) and layout."""
        if self.layers:
            assert edges is not None, "layers of attention have edges to attend along"
            counts_ET = type_counts(edges.types, self.num_edge_types)
            for layer in self.layers:
                nodes_Md = layer(nodes_Md, edges, counts_ET)
        return nodes_Md if self.order is None else self.order(nodes_Md, layout)


class GraphLayer(nn.Module):
    """`LN(x + W_o attention(x))`, with a bias per edge and head from types and geometry.

    The biases of an edge's types add up (*reconstruction*); with `content`, the product of query
    and key is added to them. A node without edges keeps its `x`, and at first every node does:
    `W_o` starts at 0, so that a node is itself before it is its neighbourhood.
    """

    def __init__(
        self, width: int, num_edge_types: int, geometry_width: int, settings: GraphEncoderSettings
    ) -> None:
        super().__init__()
        self.heads = settings.heads
        self.query_key = nn.Linear(width, 2 * width) if settings.content else None
        self.value = nn.Linear(width, width)
        self.type_bias = nn.Embedding(num_edge_types, settings.heads, padding_idx=0)
        nn.init.normal_(self.type_bias.weight, std=2.0)  # heads start out preferring other types
        with torch.no_grad():
            self.type_bias.weight[0] = 0
        self.geometry_bias = (
            nn.Linear(geometry_width, settings.heads, bias=False) if geometry_width else None
        )
        self.out = nn.Linear(width, width, bias=False)  # no bias: no edges, no change
        nn.init.zeros_(self.out.weight)
        self.dropout = nn.Dropout(settings.dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, nodes_Md: Tensor, edges: Edges, counts_ET: Tensor) -> Tensor:
        """`[M, d]` to `[M, d]`; the counts are those of `type_counts`."""
        v_MHd = self.value(nodes_Md).unflatten(-1, (self.heads, -1))
        q_MHd = k_MHd = torch.zeros_like(v_MHd)
        if self.query_key is not None:
            q_MHd, k_MHd = self.query_key(nodes_Md).unflatten(-1, (2, self.heads, -1)).unbind(1)
        with torch.autocast(nodes_Md.device.type, enabled=False):  # float32 inside, as it promises
            bias_EH = counts_ET @ self.type_bias.weight
            if self.geometry_bias is not None and edges.geometry is not None:
                bias_EH = bias_EH + self.geometry_bias(edges.geometry)
            if edges.is_edge is not None:
                bias_EH = bias_EH.masked_fill(~edges.is_edge[:, None], -math.inf)
            attended_MHd = graph_attention(q_MHd, k_MHd, v_MHd, edges.graph, bias_EH)
        return self.norm(nodes_Md + self.dropout(self.out(attended_MHd.flatten(1))))


def type_counts(types_EK: Tensor, num_types: int) -> Tensor:
    """`[E, T]` float32, how often each edge has each type; the padding type 0 does not count.

    By this matrix a sum of embeddings is a product, and so is its gradient, for which
    `nn.Embedding` sorts all edges by their types.
    """
    counts_ET = torch.zeros((len(types_EK), num_types), device=types_EK.device)
    return counts_ET.scatter_add_(1, types_EK, (types_EK > 0).float())


class ContextualOrder(nn.Module):
    """Context in a given order: `h = GRU(x)`, `z = sigmoid(W [x; h])`, `x' = x + z (h - x)`.

    *Reconstruction* of the paper's "contextual order": words as they stand in the sentence, regions
    as the detector ranked them.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gru = nn.GRU(width, width, batch_first=True)
        self.gate = nn.Linear(2 * width, width)

    def forward(self, nodes_Md: Tensor, layout: Layout) -> Tensor:
        """`[M, d]` to `[M, d]`."""
        states_Md = run_gru(self.gru, nodes_Md, layout)
        gate_Md = self.gate(torch.cat([nodes_Md, states_Md], dim=-1)).sigmoid()
        return nodes_Md + gate_Md * (states_Md - nodes_Md)


def unit(rows: Tensor) -> Tensor:
    """Rows of unit length in float32; a row of zeros stays 0."""
    return F.normalize(rows.float(), dim=-1)
