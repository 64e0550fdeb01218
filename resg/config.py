"""Every setting of a run: frozen models, one sentence for each setting.

A run's settings are the defaults here, changed by a preset and by `--set path=value` (see
`resg.presets`). The same models validate them and generate the table in docs/training.md.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator


class Settings(BaseModel):
    """Base of all settings: frozen, and an unknown name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _as_kinds(value: Any) -> Any:
    """Accept `none` and, without brackets, a single kind."""
    if isinstance(value, str):
        return () if value == "none" else (value,)
    return value


class VisualGraphSettings(Settings):
    """Which edges join the regions of an image."""

    edges: Annotated[
        tuple[Literal["spatial", "neighbours", "all", "predicates"], ...],
        BeforeValidator(_as_kinds),
    ] = Field(
        default=("spatial", "neighbours"),
        description="Kinds of edges: spatial classes of boxes, nearest in feature space, all "
        "pairs, predicates of the detector; or `none`.",
    )
    neighbours: int = Field(
        default=8,
        ge=1,
        description="Nearest regions in feature space that a region is joined to.",
    )


class TextualGraphSettings(Settings):
    """Which edges join the words of a caption."""

    edges: Annotated[tuple[Literal["arcs", "triples"], ...], BeforeValidator(_as_kinds)] = Field(
        default=("arcs", "triples"),
        description="Kinds of edges: dependency arcs, relation triples; or `none`.",
    )


class GraphEncoderSettings(Settings):
    """Graph attention over regions and over words, and the contextual order after it."""

    layers: int = Field(default=2, ge=0, description="Layers of graph attention; 0 for none.")
    heads: int = Field(default=8, ge=1, description="Attention heads; they divide the width.")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="Share of attended values dropped.")
    edge_dropout: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="Share of edges left out at random in training, not those of a node to itself.",
    )
    residual: Literal["gated", "normed"] = Field(
        default="gated",
        description="How a layer changes a node: gated adds to it what attention finds over "
        "normalised nodes, by a learned gate that starts at 0, as does the contextual order's; "
        "normed normalises the sum of both.",
    )
    type_values: bool = Field(
        default=True,
        description="A node also takes the mean embedding of the types of its edges.",
    )
    content: bool = Field(
        default=True,
        description="Attention scores also depend on the nodes' content (queries and keys), not "
        "only on the types and geometry of edges.",
    )
    contextual_order: bool = Field(
        default=True, description="Gated GRU over words in order and regions by detection score."
    )


class ImageEncoderSettings(Settings):
    """From region features to region nodes."""

    standardise: bool = Field(
        default=False,
        description="Subtract the training split's mean from the features and divide them by its "
        "deviation.",
    )
    layer_norm: bool = Field(default=True, description="Layer norm over the projected features.")
    boxes: bool = Field(default=True, description="Add a projection of the box geometry.")
    mlp: bool = Field(
        default=False, description="Add a two-layer perceptron beside the projection (VSE∞)."
    )
    mlp_norm: bool = Field(
        default=False,
        description="Normalise the perceptron's hidden units over the batch's regions (VSE∞).",
    )
    start: Literal["linear", "xavier"] = Field(
        default="linear",
        description="Initial weights of the projection: PyTorch's of a linear layer, or Xavier's "
        "uniform ones without bias, as the baselines' released code has it.",
    )
    pooling: Literal["generalised", "mean"] = Field(
        default="generalised", description="How region nodes become the image's embedding."
    )


class TextEncoderSettings(Settings):
    """From the words of a caption to word nodes."""

    encoder: str = Field(
        default="gru", description="`gru`, or `bert:NAME_OR_PATH` for a Hugging Face encoder."
    )
    word_width: int = Field(
        default=300, ge=1, description="Width of the word embedding (gru only)."
    )
    bidirectional: bool = Field(
        default=True, description="GRU in both directions; a node is the mean of both states."
    )
    dropout: float = Field(
        default=0.0, ge=0, lt=1, description="Share of word embeddings' values dropped."
    )
    boundaries: bool = Field(
        default=False,
        description="Words `<start>` and `<end>` around every caption, nodes without edges "
        "(gru only).",
    )
    min_count: int = Field(
        default=1,
        ge=1,
        description="Times a word must occur in training to be in the vocabulary.",
    )
    pooling: Literal["generalised", "mean", "last"] = Field(
        default="generalised", description="How word nodes become the caption's embedding."
    )

    @model_validator(mode="after")
    def _known_encoder(self) -> Self:
        if self.encoder != "gru" and not self.encoder.removeprefix("bert:") != self.encoder:
            raise ValueError(f"expected 'gru' or 'bert:NAME_OR_PATH', got {self.encoder!r}")
        return self


class SimilaritySettings(Settings):
    """How an image and a caption are compared."""

    embeddings: bool = Field(default=True, description="Use the cosine of the pooled embeddings.")
    nodes: Literal["none", "t2i", "i2t", "both"] = Field(
        default="both",
        description="Node-level similarity: words attend regions (t2i), regions attend words "
        "(i2t), the mean of both, or none.",
    )
    match: Literal["attended", "best", "weighted_best"] = Field(
        default="attended",
        description="What a node is compared with: the mean of the other side's nodes that it "
        "attends to, or its most similar one alone; weighted_best also weighs an item's nodes by a "
        "learned softmax, where else they count alike.",
    )
    words_temperature: float = Field(
        default=9.0, gt=0, description="Sharpness of words over regions."
    )
    regions_temperature: float = Field(
        default=4.0, gt=0, description="Sharpness of regions over words."
    )
    normalise: Literal["plain", "clipped_l2"] = Field(
        default="plain",
        description="Before the softmax: nothing, or SCAN's LeakyReLU and L2 norm over the "
        "attending side.",
    )
    node_pooling: Literal["mean", "lse"] = Field(
        default="mean", description="Nodes' cosines to one score: mean, or SCAN's log-sum-exp."
    )
    lambda_lse: float = Field(
        default=6.0, gt=0, description="Sharpness of the log-sum-exp pooling."
    )

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.embeddings and self.nodes == "none":
            raise ValueError("expected embeddings or nodes to be compared, got neither")
        return self


class ModelSettings(Settings):
    """The whole matcher."""

    width: int = Field(default=1024, ge=8, description="Width d of nodes and embeddings.")
    image: ImageEncoderSettings = ImageEncoderSettings()
    text: TextEncoderSettings = TextEncoderSettings()
    visual_graph: VisualGraphSettings = VisualGraphSettings()
    textual_graph: TextualGraphSettings = TextualGraphSettings()
    graph: GraphEncoderSettings = GraphEncoderSettings()
    similarity: SimilaritySettings = SimilaritySettings()

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.graph.layers and self.width % self.graph.heads:
            raise ValueError(
                f"expected graph.heads to divide width, got {self.graph.heads} and {self.width}"
            )
        return self


class LossSettings(Settings):
    """Weights and margins of the losses, means over their anchors; a weight of 0 turns one off."""

    triplet_weight: float = Field(
        default=1.0, ge=0, description="Weight of the triplet ranking loss."
    )
    triplet_margin: float = Field(
        default=0.2, gt=0, description="Cosine by which a match must beat a negative."
    )
    hardest_after: Literal["recall"] | Annotated[float, Field(ge=0)] = Field(
        default="recall",
        description="When the triplet loss takes the hardest negatives: `recall`, as far as "
        "training batches are ranked right, and the mean of all violations for the rest; or a "
        "number of epochs that sum all violations, and as many more as it takes to rank a quarter "
        "of the training batches right.",
    )
    contrastive_weight: float = Field(
        default=1.0, ge=0, description="Weight of the contrastive loss (InfoNCE)."
    )
    contrastive_temperature: float = Field(
        default=0.05, gt=0, description="Temperature of its softmax, a cosine."
    )
    center_weight: float = Field(
        default=1.0, ge=0, description="Weight a of the center hinge loss."
    )
    center_margin: float = Field(
        default=0.2,
        gt=0,
        description="Cosine distance by which the own centre must be nearer.",
    )
    margin_weight: float = Field(default=1.0, ge=0, description="Weight b of the margin loss.")
    positive_margin: float = Field(
        default=0.6, le=1, description="Score that matches should reach."
    )
    negative_margin: float = Field(
        default=0.4, ge=-1, description="Score that negatives should not pass."
    )

    swap_weight: float = Field(
        default=0.5,
        ge=0,
        description="Weight of the swap loss: a caption should match its image better than the "
        "same caption with subject and object of a relation exchanged.",
    )

    phrase_weight: float = Field(
        default=0.0,
        ge=0,
        description="Weight of the phrase loss: `a red dog` of a caption should find its image "
        "among those whose captions name no red dog (CORA).",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.positive_margin <= self.negative_margin:
            raise ValueError(
                "expected positive_margin above negative_margin, "
                f"got {self.positive_margin} and {self.negative_margin}"
            )
        return self


class TrainSettings(Settings):
    """How the matcher is trained."""

    seed: int = Field(default=0, ge=0, description="Seed of initial weights, batches and dropout.")
    epochs: int = Field(default=30, ge=1, description="Passes over the training captions.")
    batch_size: int = Field(default=128, ge=2, description="Pairs in a batch, over all processes.")
    captions_per_image: int = Field(
        default=1,
        ge=1,
        description="Captions of an image that share a batch, each with a copy of the image whose "
        "regions are dropped anew.",
    )
    accumulate: int = Field(
        default=1, ge=1, description="Batches whose gradients are added up for one step."
    )
    learning_rate: float = Field(default=5e-4, gt=0, description="Peak learning rate of AdamW.")
    text_learning_rate: float = Field(
        default=0.1,
        gt=0,
        description="Learning rate of a Hugging Face encoder, as a share of learning_rate.",
    )
    weight_decay: float = Field(default=1e-4, ge=0, description="Weight decay of AdamW.")
    warmup_steps: int = Field(
        default=100, ge=0, description="Steps over which the learning rate rises from 0."
    )
    schedule: Literal["step", "cosine"] = Field(
        default="step",
        description="How the learning rate falls after the warm-up: in one step, of `decay_after` "
        "and `decay`, or along half a cosine to 0 at the end.",
    )
    decay_after: float = Field(
        default=0.5, gt=0, le=1, description="Share of the run after which the rate decays."
    )
    decay: float = Field(
        default=0.1, gt=0, le=1, description="Factor by which the learning rate then decays."
    )
    clip: float = Field(default=2.0, gt=0, description="Norm to which gradients are clipped.")
    clip_of: Literal["mean", "sum"] = Field(
        default="mean",
        description="Whose gradient is clipped: the loss's, a mean over the anchors of a batch, or "
        "that of the sum over its `2 batch_size` anchors, as VSE++, SCAN and VSE∞ do.",
    )
    precision: Literal["auto", "bf16", "fp16", "fp32"] = Field(
        default="auto", description="Autocast type; auto is bf16 where the GPU has it, else fp32."
    )
    ema: float = Field(
        default=0.0, ge=0, lt=1, description="Decay of averaged weights; 0 for none."
    )
    hard_batches: bool = Field(
        default=True,
        description="After the first epoch an image shares its batch with one that the model "
        "finds similar, so that the hardest negatives are hard.",
    )
    region_drop: float = Field(
        default=0.0, ge=0, lt=1, description="Share of regions left out at random in training."
    )
    word_drop: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of words dropped at random in training (gru only).",
    )
    dropped_words: Literal["unknown", "mixed"] = Field(
        default="unknown",
        description="What dropped words become: unknown; or, mixed, half of them the word "
        "`<mask>`, a tenth a random word, and the others are removed (VSE∞).",
    )
    patience: int = Field(
        default=0,
        ge=0,
        description="Evaluations without a better rSum after which training stops; 0 for never.",
    )
    chance_steps: int = Field(
        default=2000,
        ge=1,
        description="Steps after which a validation R@1 at chance raises the alarm.",
    )
    cache: Literal["auto", "device", "ram", "map"] = Field(
        default="auto",
        description="Where features are kept: on the device, in RAM, or memory-mapped in the "
        "shards; auto chooses by size.",
    )
    cuda_graphs: Literal["auto", "never"] = Field(
        default="auto",
        description="Replay training steps as CUDA graphs; auto does so on one GPU in half "
        "precision, with the GRU text encoder, at most 64 regions in an image, and without "
        "accumulated gradients or predicate edges.",
    )


class RunSettings(Settings):
    """All settings of a run."""

    preset: str = Field(
        default="resg-gru", description="Name of the preset that the run started from."
    )
    model: ModelSettings = ModelSettings()
    loss: LossSettings = LossSettings()
    train: TrainSettings = TrainSettings()
