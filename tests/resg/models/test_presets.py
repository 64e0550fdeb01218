"""One similarity of each preset, worked in NumPy by the formulas of its paper."""

import math

import numpy as np
import pytest
import torch

from resg.data.tables import CaptionTable, ImageTable
from resg.data.vocabulary import END, START, Vocabulary
from resg.graphs.visual import Edges
from resg.models.matcher import Matcher
from resg.presets import load_settings

WIDTH, HEADS = 8, 2
CPU = torch.device("cpu")


class ByHand:
    """The weights of a matcher in float64, and the steps that papers name."""

    def __init__(self, matcher):
        self.weights = {n: w.double().numpy() for n, w in matcher.state_dict().items()}

    def linear(self, name, rows):
        return rows @ self.weights[f"{name}.weight"].T + self.weights.get(f"{name}.bias", 0.0)

    def layer_norm(self, name, rows):
        centred = rows - rows.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def running_norm(self, name, rows):
        mean, variance = self.weights[f"{name}.running_mean"], self.weights[f"{name}.running_var"]
        scaled = (rows - mean) / np.sqrt(variance + 1e-5)
        return scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def gru(self, name, rows, direction=""):
        """Cho et al. 2014, with the reset gate after the matrix; backwards reads from the end."""
        w_in, w_state, b_in, b_state = (
            self.weights[f"{name}.{part}_l0{direction}"]
            for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        state, states = np.zeros(w_state.shape[1]), []
        for row in rows[::-1] if direction else rows:
            r_in, z_in, n_in = np.split(w_in @ row + b_in, 3)
            r_state, z_state, n_state = np.split(w_state @ state + b_state, 3)
            reset, update = sigmoid(r_in + r_state), sigmoid(z_in + z_state)
            state = (1 - update) * np.tanh(n_in + reset * n_state) + update * state
            states.append(state)
        return np.array(states[::-1] if direction else states)

    def both_ways(self, name, rows):
        return (self.gru(name, rows) + self.gru(name, rows, "_reverse")) / 2

    def words(self, numbers):
        return self.both_ways("words.gru", self.weights["words.embedding.weight"][numbers])

    def generalised_pooling(self, name, nodes):
        """Chen et al. 2021, section 3.2: position codes, a BiGRU, a softmax, the sorted values."""
        code_width = 32
        codes = np.zeros((len(nodes), code_width))
        for place in range(len(nodes)):
            for step in range(0, code_width, 2):
                angle = place / 10000 ** (step / code_width)
                codes[place, step], codes[place, step + 1] = math.sin(angle), math.cos(angle)
        logits = self.linear(f"{name}.weight", self.both_ways(f"{name}.positions", codes))[:, 0]
        return softmax(logits / 0.1) @ -np.sort(-nodes, axis=0)

    def resg_nodes(self, graph, nodes, edges):
        """Two layers of attention over the edges into each node, then any contextual order."""
        for layer in range(2):
            nodes = self.graph_layer(f"{graph}.layers.{layer}", nodes, edges)
        if f"{graph}.order.gate.weight" not in self.weights:
            return nodes
        states = self.gru(f"{graph}.order.gru", nodes)
        gate = sigmoid(self.linear(f"{graph}.order.gate", np.concatenate([nodes, states], 1)))
        gate = gate * self.weights.get(f"{graph}.order.scale", 1.0)
        return gate * states + (1 - gate) * nodes

    def graph_layer(self, name, nodes, edges):
        """A gated layer, or one with the norm of the sum."""
        if f"{name}.gate" in self.weights:
            inner = self.layer_norm(f"{name}.norm", nodes)
            return nodes + self.weights[f"{name}.gate"] * self.message(name, inner, edges)
        return self.layer_norm(f"{name}.norm", nodes + self.message(name, nodes, edges))

    def message(self, name, nodes, edges):
        value = self.linear(f"{name}.value", nodes)
        query = key = np.zeros_like(value)
        if f"{name}.query_key.weight" in self.weights:
            query, key = np.split(self.linear(f"{name}.query_key", nodes), 2, axis=1)
        type_value = self.weights.get(f"{name}.type_value.weight")
        size = WIDTH // HEADS
        attended = np.zeros_like(nodes)
        for target in range(len(nodes)):
            into = [edge for edge in edges if edge[0] == target]
            for head in range(HEADS if into else 0):
                own = slice(head * size, (head + 1) * size)
                logits = []
                for _, source, types, geometry in into:
                    bias = sum(self.weights[f"{name}.type_bias.weight"][t, head] for t in types)
                    if geometry is not None:
                        bias += self.weights[f"{name}.geometry_bias.weight"][head] @ geometry
                    cosine = query[target, own] @ key[source, own]
                    logits.append(cosine / math.sqrt(size) + bias)
                shares = softmax(np.array(logits))
                attended[target, own] = sum(
                    share * value[edge[1], own] for share, edge in zip(shares, into, strict=True)
                )
            if into and type_value is not None:
                attended[target] += sum(type_value[:, list(e[2])].sum(1) for e in into) / len(into)
        return self.linear(f"{name}.out", attended)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    return np.exp(x) / np.exp(x).sum()


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def cosine(a, b):
    return unit(a) @ unit(b)


def attended_cosines(attending, attended, temperature, clipped):
    """Each attending node's cosine with its attended vector: Lee et al. 2018, eq. 1 to 4, 6 to 9.

    `clipped`: the cosines pass LeakyReLU 0.1 (their code; the paper clips at 0) and are divided by
    their norm over the attending side.
    """
    attending, attended = unit(attending), unit(attended)
    cosines = attending @ attended.T
    if clipped:
        cosines = np.where(cosines > 0, cosines, 0.1 * cosines)
        cosines = cosines / np.linalg.norm(cosines, axis=0, keepdims=True)
    return np.array(
        [
            cosine(node, softmax(temperature * row) @ attended)
            for node, row in zip(attending, cosines, strict=True)
        ]
    )


def log_sum_exp(values, sharpness):
    """Lee et al. 2018, eq. 5 and 10."""
    return math.log(sum(math.exp(sharpness * value) for value in values)) / sharpness


def edges_of(edges: Edges):
    """(target, source, types, geometry) of each edge of one graph."""
    geometry = [None] * edges.graph.num_edges if edges.geometry is None else edges.geometry.numpy()
    return list(
        zip(
            edges.graph.targets.tolist(),
            edges.graph.indices.tolist(),
            [[t for t in types if t] for types in edges.types.tolist()],
            geometry,
            strict=True,
        )
    )


class Pair:
    """A matcher with random weights, one image of three regions, one caption of three words."""

    def __init__(self, preset, world, *changes):
        small = (f"model.width={WIDTH}", f"model.graph.heads={HEADS}", "model.text.word_width=5")
        self.settings = load_settings(preset, (*small, *changes)).model
        self.image = world.make_image("i", ("red", "green", "blue"), np.random.default_rng(3))
        caption = world.make_caption("i#0", "i", "red", "green")
        ends = (START, END) if self.settings.text.boundaries else ()
        vocabulary = Vocabulary.build([caption], own_words=ends)
        torch.manual_seed(1)
        self.matcher = Matcher(self.settings, vocabulary, world.feature_width).eval()
        with torch.no_grad():
            for weight in self.matcher.parameters():
                weight.add_(0.3 * torch.randn_like(weight))  # norms and biases too
            for statistics in self.matcher.buffers():
                statistics.add_(torch.rand_like(statistics))
            for name, weight in self.matcher.named_parameters():
                if name.endswith("type_bias.weight"):
                    weight[0] = 0
        table = ImageTable([self.image], "ram", CPU)
        captions = CaptionTable([caption], table.row, vocabulary, self.settings.textual_graph.edges)
        self.images, self.captions = (
            table.batch(torch.tensor([0])),
            captions.batch(torch.tensor([0]), torch.tensor([0])),
        )
        self.features = self.image.features.astype(np.float64)
        forms = (START, *caption.forms, END) if ends else caption.forms
        self.numbers = [vocabulary.word_index[form] for form in forms]

    def score(self):
        with torch.no_grad():
            return self.matcher.score(*self.matcher(self.images, self.captions)).item()


def test_vse_plus_plus(world):
    # Faghri et al. 2018, eq. 1 to 3: a linear map of the image vector, the last state of a GRU
    pair = Pair("vse++", world)
    hand = ByHand(pair.matcher)
    image = hand.linear("regions.project", pair.features.mean(0))
    words = hand.weights["words.embedding.weight"][pair.numbers]
    caption = hand.gru("words.gru", words)[-1]
    assert pair.score() == pytest.approx(cosine(image, caption), abs=1e-5)


def test_vse_infinity(world):
    pair = Pair("vse-inf", world)
    hand = ByHand(pair.matcher)
    hidden = hand.running_norm("regions.mlp.norm", hand.linear("regions.mlp.hidden", pair.features))
    regions = hand.linear("regions.project", pair.features)
    regions = regions + hand.linear("regions.mlp.out", np.maximum(hidden, 0))
    image = hand.generalised_pooling("image_pooling", regions)
    caption = hand.generalised_pooling("caption_pooling", hand.words(pair.numbers))
    assert pair.score() == pytest.approx(cosine(image, caption), abs=1e-5)


@pytest.mark.parametrize(
    ("preset", "temperature", "sharpness"), [("scan-t2i", 9, 6), ("scan-i2t", 4, 5)]
)
def test_scan(preset, temperature, sharpness, world):
    pair = Pair(preset, world)
    hand = ByHand(pair.matcher)
    regions, words = hand.linear("regions.project", pair.features), hand.words(pair.numbers)
    sides = (words, regions) if preset == "scan-t2i" else (regions, words)
    cosines = attended_cosines(*sides, temperature, clipped=True)
    assert pair.score() == pytest.approx(log_sum_exp(cosines, sharpness), abs=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        (),
        ("model.graph.content=false", "model.graph.contextual_order=false"),
        ("model.graph.residual=normed", "model.graph.type_values=false"),
    ],
)
@pytest.mark.parametrize("preset", ["resg-gru", "resg-no-edges"])
def test_resg(preset, changes, world):
    # the reconstruction of docs/training.md, from features to the mixed similarity
    pair = Pair(preset, world, *changes)
    hand = ByHand(pair.matcher)
    visual, textual = (
        edges_of(pair.matcher.visual_edges(pair.images)),
        edges_of(pair.captions.edges),
    )
    assert bool(visual) == bool(textual) == (preset == "resg-gru")
    height, width = pair.image.image_size
    shares = pair.image.boxes / np.array([width, height, width, height])
    sides = shares[:, 2:] - shares[:, :2]
    boxes = np.concatenate([shares, sides, sides.prod(1, keepdims=True)], 1)
    regions = hand.layer_norm("regions.norm", hand.linear("regions.project", pair.features))
    regions = hand.resg_nodes("visual_graph", regions + hand.linear("regions.boxes", boxes), visual)
    words = hand.resg_nodes("textual_graph", hand.words(pair.numbers), textual)
    pooled = cosine(
        hand.generalised_pooling("image_pooling", regions),
        hand.generalised_pooling("caption_pooling", words),
    )
    nodes = (
        attended_cosines(words, regions, 9, clipped=False).mean()
        + attended_cosines(regions, words, 4, clipped=False).mean()
    ) / 2
    share = sigmoid(hand.weights["similarity.mix"])
    assert pair.score() == pytest.approx((1 - share) * pooled + share * nodes, abs=1e-5)
