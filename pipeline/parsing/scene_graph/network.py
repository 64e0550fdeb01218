"""The scene-graph network at work, in NumPy: one bidirectional LSTM and a scorer of pairs of nodes.

`pipeline.parsing.training.scene_graph_net` trains the same network in PyTorch; parameters have its
names. B captions of at most L tokens, T tokens in all, d width, h = d / 2; M nodes, P pairs, R relations.

What a word is before its context depends on the word alone, so the first layer's part of it is computed
once a word and kept; a caption costs its recurrence and its pairs. A step of the LSTM is one `tanh` over
all gates: sigmoid(x) = (1 + tanh(x / 2)) / 2, with the half folded into the weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.parsing.scene_graph.decode import Floats
from pipeline.parsing.scene_graph.features import Vocabulary, letter_rows

Ints = NDArray[np.integer]

MAX_APART = 8
MAX_KEPT_WORDS = 20_000


@dataclass(frozen=True)
class Encoded:
    """Captions in context.

    Attributes:
        tokens_Td: all tokens, caption after caption.
        offsets: `[B + 1]` where each caption's tokens begin.
    """

    tokens_Td: Floats
    offsets: Ints


class SceneGraphNetwork:
    """Scores of tags, pairs and predicates.

    Args:
        weights: parameters by name, as PyTorch's `state_dict` has them.
        vocabulary: words that have a row of their own.
    """

    def __init__(self, weights: Mapping[str, Floats], vocabulary: Vocabulary) -> None:
        self.weights = {name: np.asarray(value, np.float32) for name, value in weights.items()}
        self.vocabulary = vocabulary
        self.buckets = len(self.weights["letter_table.weight"]) - 1
        self.layers = sum(name.startswith("encoder.weight_hh_l") for name in self.weights) // 2
        self.recurrences = [_Recurrence(self.weights, layer) for layer in range(self.layers)]
        self._word_rows: dict[str, int] = {}
        self._word_gates = np.empty((0, 0), np.float32)

    def encode(self, captions: Sequence[Sequence[str]]) -> Encoded:
        """Tokens in context.

        Args:
            captions: each caption's words in lower case; none is empty.
        """
        lengths = np.array([len(words) for words in captions])
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        order = np.argsort(-lengths, kind="stable")
        rows = self._rows_of([word for words in captions for word in words])
        gates = self._word_gates[rows]  # [T, 2 * 4h]
        steps = _Steps(lengths[order], offsets[order])
        for layer, recurrence in enumerate(self.recurrences):
            if layer:
                gates = recurrence.input_gates(tokens)  # noqa: F821  the layer below set it
            tokens = recurrence.run(gates, steps)
        return Encoded(tokens, offsets)

    def tag_scores(self, encoded: Encoded) -> Floats:
        """Scores of each token's tag, `[T, 5]`."""
        return self._linear("tag", _gelu(self._linear("tag_hidden", encoded.tokens_Td)))

    def pair_vectors(self, encoded: Encoded, ends_M2: Ints, pairs_P2: Ints) -> Floats:
        """Each pair's vector, `[P, pair width]`.

        Args:
            encoded: the captions.
            ends_M2: first and last token of each node, counted over all captions.
            pairs_P2: subject and object node of each pair; both lie in one caption.
        """
        tokens = encoded.tokens_Td
        first, last = ends_M2[:, 0], ends_M2[:, 1]
        ends = np.concatenate([tokens[first], tokens[last]], 1)
        s, o = pairs_P2[:, 0], pairs_P2[:, 1]
        left, right = np.minimum(last[s], last[o]), np.maximum(first[s], first[o])
        gap = np.maximum(right - left - 1, 0)
        sums = np.zeros((len(tokens) + 1, len(self.weights["between.weight"])), np.float32)
        np.cumsum(tokens @ self.weights["between.weight"].T, axis=0, out=sums[1:])
        inside = (sums[left + 1 + gap] - sums[left + 1]) / np.maximum(gap, 1)[:, None]
        apart = np.clip(first[o] - first[s], -MAX_APART, MAX_APART) + MAX_APART
        z = self._linear("subject", ends)[s] + (ends @ self.weights["object.weight"].T)[o]
        z += inside
        z += self.weights["apart.weight"][apart]
        return _gelu(self._linear("pair_hidden", _gelu(z)))

    def joined(self, pairs_Pd: Floats) -> Floats:
        """Probability that a pair is a relation, and an attribute with its object, `[P, 2]`."""
        return 0.5 + 0.5 * np.tanh(0.5 * self._linear("joined", pairs_Pd))

    def head_scores(self, relations_Rd: Floats) -> Floats:
        """Scores of the closed set of words that begin a predicate, `[R, A]`."""
        return self._linear("head", relations_Rd)

    def copy_scores(self, relations_Rd: Floats, tokens_Rd: Sequence[Floats]) -> list[Floats]:
        """Scores of beginning the predicate with each token of the relation's caption."""
        queries = self._linear("query", relations_Rd)
        return [
            self._linear("key", tokens) @ query
            for tokens, query in zip(tokens_Rd, queries, strict=True)
        ]

    def tail_scores(self, relations_Rd: Floats) -> Floats:
        """Scores of the closed set of ends of a predicate, `[R, Z]`."""
        return self._linear("tail", relations_Rd)

    def _linear(self, name: str, x: Floats) -> Floats:
        y = x @ self.weights[f"{name}.weight"].T
        y += self.weights[f"{name}.bias"]
        return y

    def _rows_of(self, words: Sequence[str]) -> list[int]:
        """Rows of `_word_gates`, which is filled with the words that it lacks."""
        known = self._word_rows
        unknown = sorted({word for word in words if word not in known})
        if unknown:
            if len(known) + len(unknown) > MAX_KEPT_WORDS:
                known.clear()
                unknown = sorted(set(words))
            gates = self.recurrences[0].input_gates(self._word_vectors(unknown))
            kept = self._word_gates[: len(known)].reshape(len(known), gates.shape[1])
            self._word_gates = np.concatenate([kept, gates])
            known.update(zip(unknown, range(len(known), len(known) + len(unknown)), strict=True))
        return [known[word] for word in words]

    def _word_vectors(self, words: Sequence[str]) -> Floats:
        letters = self.weights["letter_table.weight"]
        rows = [letter_rows(word, self.buckets) for word in words]
        by_letters = np.stack([letters[r].mean(0) for r in rows])
        by_word = self.weights["word_table.weight"][[self.vocabulary.row(word) for word in words]]
        return np.concatenate([by_word, by_letters], 1)


class _Steps:
    """Which tokens the recurrence reads at each step; captions are sorted, the longest first."""

    def __init__(self, lengths: Ints, starts: Ints) -> None:
        longest = int(lengths[0])
        active = np.searchsorted(-lengths, -np.arange(longest), side="left")
        self.tokens = [starts[: active[t]] + t for t in range(longest)]
        self.num_captions = len(lengths)


class _Recurrence:
    """One bidirectional LSTM layer."""

    def __init__(self, weights: Mapping[str, Floats], layer: int) -> None:
        self.inputs, self.biases, self.hidden = [], [], []
        for suffix in ("", "_reverse"):
            name = f"l{layer}{suffix}"
            w_hh = weights[f"encoder.weight_hh_{name}"]
            self.width = w_hh.shape[1]
            half = np.full((4 * self.width, 1), 0.5, np.float32)  # gates: input, forget, cell, output
            half[2 * self.width : 3 * self.width] = 1.0
            bias = weights[f"encoder.bias_ih_{name}"] + weights[f"encoder.bias_hh_{name}"]
            self.inputs.append(weights[f"encoder.weight_ih_{name}"] * half)
            self.biases.append(bias * half[:, 0])
            self.hidden.append(np.ascontiguousarray((w_hh * half).T))
        self.weight = np.ascontiguousarray(np.concatenate(self.inputs).T)
        self.bias = np.concatenate(self.biases)

    def input_gates(self, x: Floats) -> Floats:
        """What the inputs add to the gates of both directions, `[T, 2 * 4h]`."""
        gates = x @ self.weight
        gates += self.bias
        return gates

    def run(self, gates: Floats, steps: _Steps) -> Floats:
        """The layer's output for every token, `[T, 2h]`."""
        h = self.width
        out = np.empty((len(gates), 2 * h), np.float32)
        for direction, order in enumerate((steps.tokens, steps.tokens[::-1])):
            mine = gates[:, direction * 4 * h : (direction + 1) * 4 * h]
            hidden = np.zeros((steps.num_captions, h), np.float32)
            cell = np.zeros((steps.num_captions, h), np.float32)
            for tokens in order:
                n = len(tokens)
                a = hidden[:n] @ self.hidden[direction]
                a += mine[tokens]
                np.tanh(a, out=a)
                a[:, : 2 * h] += 1.0  # twice the sigmoid
                c = cell[:n]
                c *= a[:, h : 2 * h]
                a[:, :h] *= a[:, 2 * h : 3 * h]
                c += a[:, :h]
                c *= 0.5
                a[:, 3 * h :] += 1.0
                a[:, 3 * h :] *= 0.5
                np.multiply(a[:, 3 * h :], np.tanh(c), out=hidden[:n])
                out[tokens, direction * h : (direction + 1) * h] = hidden[:n]
        return out


def _gelu(x: Floats) -> Floats:
    """x Φ(x), Hendrycks and Gimpel 2016, by their tanh approximation."""
    inner = x * x
    inner *= 0.044715
    inner += 1.0
    inner *= x
    inner *= 0.7978845608
    np.tanh(inner, out=inner)
    inner += 1.0
    inner *= x
    inner *= 0.5
    return inner

