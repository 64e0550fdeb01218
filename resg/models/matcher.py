"""The matcher: encodes images and captions as nodes and embeddings, and scores them.

I images, C captions, M nodes, d width.
"""

import torch
from torch import Tensor, nn

from resg.config import ModelSettings
from resg.data.batches import CaptionBatch, ImageBatch
from resg.data.vocabulary import Vocabulary
from resg.errors import ResgError
from resg.graphs.ragged import Layout
from resg.graphs.visual import GEOMETRY_WIDTH, SELF, Edges, num_visual_edge_types, visual_edges
from resg.models.encoded import Encoded
from resg.models.encoders import RegionEncoder, TransformerWordEncoder, WordEncoder, unit
from resg.models.graph_encoder import GraphEncoder
from resg.models.pooling import GeneralisedPooling, LastPooling, MeanPooling
from resg.models.similarity import Similarity

POOLINGS = {"generalised": GeneralisedPooling, "mean": MeanPooling, "last": LastPooling}


class Matcher(nn.Module):
    """ReSG, or one of the baselines that a preset turns it into.

    Args:
        settings: which parts there are and how wide.
        vocabulary: words and edge types of the run.
        feature_width: D of the region features.
        pretrained: load the weights of a Hugging Face encoder; not needed before a run's weights.
    """

    def __init__(
        self,
        settings: ModelSettings,
        vocabulary: Vocabulary,
        feature_width: int,
        *,
        pretrained: bool = True,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.feature_width = feature_width
        width = settings.width
        self.regions = RegionEncoder(feature_width, width, settings.image)
        self.visual_graph = GraphEncoder(
            width,
            num_visual_edge_types(len(vocabulary.predicates)),
            SELF,
            GEOMETRY_WIDTH,
            settings.graph,
        )
        self.image_pooling = POOLINGS[settings.image.pooling]()
        encoder = settings.text.encoder
        self.words: nn.Module = (
            WordEncoder(len(vocabulary.words), width, settings.text)
            if encoder == "gru"
            else TransformerWordEncoder(encoder.removeprefix("bert:"), width, pretrained=pretrained)
        )
        self.textual_graph = GraphEncoder(
            width,
            len(vocabulary.edge_types),
            vocabulary.edge_type_index.get("self", 0),
            0,
            settings.graph,
        )
        self.caption_pooling = POOLINGS[settings.text.pooling]()
        self.similarity = Similarity(settings.similarity, width)

    def encode_images(self, images: ImageBatch) -> Encoded:
        """Region nodes and image embeddings.

        Raises:
            ResgError: the features are not as wide as the model's.
        """
        nodes = self.region_nodes(images)
        edges = images.edges
        if edges is None and self.settings.graph.layers:
            edges = self.visual_edges(images)
        return self.encode_visual_graph(nodes, edges, images.layout)

    def region_nodes(self, images: ImageBatch) -> Tensor:
        """`[M, d]` regions before they know their graph.

        Raises:
            ResgError: the features are not as wide as the model's.
        """
        width = images.features.shape[1]
        if width != self.feature_width:
            raise ResgError(
                f"expected region features {self.feature_width} wide, as in training, got {width}. "
                "Use shards of the same detector."
            )
        return self.regions(images.features, images.boxes, images.sizes, images.layout)

    def encode_visual_graph(self, nodes: Tensor, edges: Edges | None, layout: Layout) -> Encoded:
        """Region nodes and image embeddings, from `region_nodes` and their edges."""
        nodes = self.visual_graph(nodes, edges, layout)
        return _encoded(self.image_pooling(nodes, layout), nodes, layout)

    def visual_edges(self, images: ImageBatch) -> Edges:
        """The edges of a batch of images; the host waits for the GPU to know their number."""
        with torch.autocast(images.features.device.type, enabled=False):  # the same ones always
            return visual_edges(
                images.features,
                images.boxes,
                images.sizes,
                images.layout,
                self.settings.visual_graph,
                images.relations,
            )

    def encode_captions(self, captions: CaptionBatch) -> Encoded:
        """Word nodes and caption embeddings."""
        return self.encode_textual_graph(self.word_nodes(captions), captions.edges, captions.layout)

    def word_nodes(self, captions: CaptionBatch) -> Tensor:
        """`[M, d]` words before they know their graph."""
        if captions.subwords is None:
            return self.words(captions.words, captions.layout)
        return self.words(captions.subwords, captions.word_of_subword, len(captions.words))

    def encode_textual_graph(self, nodes: Tensor, edges: Edges, layout: Layout) -> Encoded:
        """Word nodes and caption embeddings, from `word_nodes` and their edges."""
        nodes = self.textual_graph(nodes, edges, layout)
        return _encoded(self.caption_pooling(nodes, layout), nodes, layout)

    def forward(self, images: ImageBatch, captions: CaptionBatch) -> tuple[Encoded, Encoded]:
        """Both sides of a batch of pairs."""
        return self.encode_images(images), self.encode_captions(captions)

    def score(self, images: Encoded, captions: Encoded) -> Tensor:
        """`[I, C]` float32 scores of all images with all captions."""
        return self.similarity(images, captions)


def _encoded(embeddings: Tensor, nodes: Tensor, layout: Layout) -> Encoded:
    return Encoded(unit(embeddings), unit(nodes), torch.from_numpy(layout.host_ptr))
