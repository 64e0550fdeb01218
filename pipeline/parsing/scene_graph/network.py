"""Inference of the scene-graph network in NumPy: a bidirectional LSTM and a scorer of node pairs.

`pipeline.parsing.training.scene_graph_net` trains the same network in PyTorch; parameters have its
names. B captions, T tokens in all, d width, h = d / 2; M nodes, P pairs, R relations.

A word's contribution to the first layer's gates depends on the word alone, so it is computed once
per word and cached, as for labels; a caption costs its recurrence and its pairs. A step of the
LSTM is one `tanh` over all gates: sigmoid(x) = (1 + tanh(x / 2)) / 2, the half is in the weights.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipeline.parsing.scene_graph.decode import Floats
from pipeline.parsing.scene_graph.features import (
    ARC_KINDS,
    Ints,
    Vocabulary,
    arc_codes,
    letter_rows,
)

AddInputs = Callable[[int, slice, Floats], None]
"""Adds to the gates of a direction what the tokens of a step put in."""

MAX_APART = 8
MAX_KEPT_WORDS = 20_000
BLOCK = 512
"""Tokens, or pairs, that are worked on at a time outside the recurrence."""


@dataclass(frozen=True)
class Captions:
    """What the network reads; no caption is empty.

    Attributes:
        words: each caption's words in lower case.
        pos: `[T]` rows of the parts of speech of all tokens, caption after caption.
        deprels: `[T]` rows of the labels of their arcs.
        heads: `[T]` their heads, counted over all captions; a root's is itself.
    """

    words: Sequence[Sequence[str]]
    pos: Ints
    deprels: Ints
    heads: Ints

    @cached_property
    def offsets(self) -> Ints:
        """`[B + 1]` where each caption's tokens begin."""
        return np.concatenate([[0], np.cumsum([len(words) for words in self.words])])


class GraphScorer:
    """Scores of tags, pairs and predicates from tokens in context.

    Args:
        weights: parameters by name, as PyTorch's `state_dict` has them.
    """

    def __init__(self, weights: Mapping[str, Floats]) -> None:
        self.weights = {name: np.asarray(value, np.float32) for name, value in weights.items()}

    def encode(self, captions: Captions) -> Floats:
        """Tokens in context, `[T, d]`."""
        raise NotImplementedError

    @property
    def num_deprels(self) -> int:
        """Number of labels of arcs, the unknown one included."""
        return (len(self.weights["arc.weight"]) - 1) // ARC_KINDS

    def tag_scores(self, tokens_Td: Floats) -> Floats:
        """Scores of each token's tag, `[T, 5]`."""
        scores = [
            self._linear("tag", _gelu(self._linear("tag_hidden", tokens_Td[block])))
            for block in _blocks(len(tokens_Td))
        ]
        return np.concatenate(scores)

    def pair_vectors(
        self, tokens_Td: Floats, captions: Captions, ends_M2: Ints, pairs_P2: Ints
    ) -> Floats:
        """Each pair's vector, `[P, pair width]`.

        Args:
            tokens_Td: the captions' tokens in context.
            captions: the captions.
            ends_M2: first and last token of each node, counted over all captions.
            pairs_P2: subject and object node of each pair; both lie in one caption.
        """
        first, last = ends_M2[:, 0], ends_M2[:, 1]
        ends = np.concatenate([tokens_Td[first], tokens_Td[last]], 1)
        subjects, objects = self._linear("subject", ends), ends @ self.weights["object.weight"].T
        sums = np.zeros((len(tokens_Td) + 1, len(self.weights["between.weight"])), np.float32)
        np.cumsum(tokens_Td @ self.weights["between.weight"].T, axis=0, out=sums[1:])
        arcs = arc_codes(first, last, pairs_P2, captions.heads, captions.deprels, self.num_deprels)
        vectors = np.empty((len(pairs_P2), len(self.weights["pair_hidden.bias"])), np.float32)
        for block in _blocks(len(pairs_P2)):
            s, o = pairs_P2[block, 0], pairs_P2[block, 1]
            left, right = np.minimum(last[s], last[o]), np.maximum(first[s], first[o])
            gap = np.maximum(right - left - 1, 0)
            z = sums.take(left + 1 + gap, 0)
            z -= sums.take(left + 1, 0)
            z /= np.maximum(gap, 1).astype(np.float32)[:, None]
            z += subjects.take(s, 0)
            z += objects.take(o, 0)
            apart = np.clip(first[o] - first[s], -MAX_APART, MAX_APART) + MAX_APART
            z += self.weights["apart.weight"].take(apart, 0)
            z += self.weights["arc.weight"].take(arcs[block], 0)
            vectors[block] = _gelu(self._linear("pair_hidden", _gelu(z)))
        return vectors

    def joined(self, pairs_Pd: Floats) -> Floats:
        """Probability that a pair is a relation, and an attribute with its object, `[P, 2]`."""
        return 0.5 + 0.5 * np.tanh(0.5 * self._linear("joined", pairs_Pd))

    def head_scores(self, relations_Rd: Floats) -> Floats:
        """Scores of the closed set of words that begin a predicate, `[R, A]`."""
        return self._linear("head", relations_Rd)

    def copy_scores(
        self, relations_Rd: Floats, tokens_Td: Floats, spans: Sequence[tuple[int, int]]
    ) -> Floats:
        """Scores of beginning the predicate with each token of the relation's caption, `[R, L]`.

        L is the length of the longest caption, at least 2; minus infinity behind a caption's end.

        Args:
            relations_Rd: vectors of the pairs.
            tokens_Td: all tokens in context.
            spans: first token of each relation's caption, and the one behind its last.
        """
        queries = self._linear("query", relations_Rd)
        keys = self._linear("key", tokens_Td)
        longest = max([2, *(end - start for start, end in spans)])
        scores = np.full((len(spans), longest), -np.inf, np.float32)
        for row, (start, end) in enumerate(spans):
            np.dot(keys[start:end], queries[row], out=scores[row, : end - start])
        return scores

    def tail_scores(self, relations_Rd: Floats, heads_R: Sequence[int], said_R2Z: Floats) -> Floats:
        """Scores of the closed set of ends of a predicate, `[R, Z]`.

        Args:
            relations_Rd: vectors of the pairs.
            heads_R: rows of the predicates' first words in the closed set; its length for others.
            said_R2Z: 1 where the caption says it, anywhere and between the two nodes; else 0.
        """
        said_R2Z *= self.weights["tail_said"]
        scores = self._linear("tail", relations_Rd)
        scores += self.weights["tail_of_head.weight"][heads_R]
        return scores + said_R2Z.sum(1)

    def _linear(self, name: str, x: Floats) -> Floats:
        y = x @ self.weights[f"{name}.weight"].T
        y += self.weights[f"{name}.bias"]
        return y


class SceneGraphNetwork(GraphScorer):
    """The embedded network: encodes by a bidirectional LSTM.

    Args:
        weights: parameters by name, as PyTorch's `state_dict` has them.
        vocabulary: words that have a row of their own.
    """

    def __init__(self, weights: Mapping[str, Floats], vocabulary: Vocabulary) -> None:
        super().__init__(weights)
        self.vocabulary = vocabulary
        self.buckets = len(self.weights["letter_table.weight"]) - 1
        self.layers = sum(name.startswith("encoder.weight_hh_l") for name in self.weights) // 2
        self.recurrences = [_Recurrence(self.weights, layer) for layer in range(self.layers)]
        by_word = sum(self.weights[f"{name}_table.weight"].shape[1] for name in ("word", "letter"))
        from_words, from_pos, from_deprels = np.split(
            self.recurrences[0].weight,
            [by_word, by_word + self.weights["pos_table.weight"].shape[1]],
        )
        self._from_words = from_words
        from_pos = self.weights["pos_table.weight"] @ from_pos
        from_deprels = self.weights["deprel_table.weight"] @ from_deprels
        both = from_pos[:, None] + from_deprels  # one table, so that one pass adds both
        self._label_gates = _by_direction(both.reshape(-1, both.shape[-1]))
        self._word_rows: dict[str, int] = {}
        self._word_gates = _by_direction(np.empty((0, len(self.recurrences[0].bias)), np.float32))

    def encode(self, captions: Captions) -> Floats:
        """Tokens in context, `[T, d]`."""
        rows = np.array(self._rows_of([word for words in captions.words for word in words]))
        labels = captions.pos * self.num_deprels + captions.deprels
        steps = _Steps(captions.offsets)
        rows, labels = rows[steps.tokens], labels[steps.tokens]

        def add_inputs(direction: int, step: slice, gates: Floats) -> None:
            gates += self._word_gates[direction].take(rows[step], 0)
            gates += self._label_gates[direction].take(labels[step], 0)

        out = self.recurrences[0].run(add_inputs, steps)
        for recurrence in self.recurrences[1:]:
            out = recurrence.run(recurrence.inputs_of(out), steps)
        tokens_Td = np.empty_like(out)
        tokens_Td[steps.tokens] = out
        return tokens_Td

    def _rows_of(self, words: Sequence[str]) -> list[int]:
        """Rows of `_word_gates`, which is filled with the words that it lacks."""
        known = self._word_rows
        unknown = sorted({word for word in words if word not in known})
        if unknown:
            if len(known) + len(unknown) > MAX_KEPT_WORDS:
                known.clear()
                unknown = sorted(set(words))
            gates = self._word_vectors(unknown) @ self._from_words + self.recurrences[0].bias
            kept = self._word_gates[:, : len(known)]
            self._word_gates = np.concatenate([kept, _by_direction(gates)], 1)
            known.update(zip(unknown, range(len(known), len(known) + len(unknown)), strict=True))
        return [known[word] for word in words]

    def _word_vectors(self, words: Sequence[str]) -> Floats:
        letters = self.weights["letter_table.weight"]
        rows = [letter_rows(word, self.buckets) for word in words]
        by_letters = np.stack([letters[r].mean(0) for r in rows])
        by_word = self.weights["word_table.weight"][[self.vocabulary.row(word) for word in words]]
        return np.concatenate([by_word, by_letters], 1)


class _Steps:
    """Which tokens the recurrence reads at each step; the longest captions come first.

    Attributes:
        tokens: `[T]` all tokens, those of the first step before those of the second.
        ends: where each step's tokens end in `tokens`.
        num_captions: number of captions.
    """

    def __init__(self, offsets: Ints) -> None:
        lengths = np.diff(offsets)
        order = np.argsort(-lengths, kind="stable")
        lengths, starts = lengths[order], offsets[:-1][order]
        active = np.searchsorted(-lengths, -np.arange(lengths[0]), side="left")
        self.tokens = np.concatenate([starts[:n] + step for step, n in enumerate(active)])
        self.ends = np.cumsum(active).tolist()
        self.num_captions = len(lengths)


class _Recurrence:
    """One bidirectional LSTM layer."""

    def __init__(self, weights: Mapping[str, Floats], layer: int) -> None:
        self.inputs, self.biases, self.hidden = [], [], []
        for suffix in ("", "_reverse"):
            name = f"l{layer}{suffix}"
            w_hh = weights[f"encoder.weight_hh_{name}"]
            self.width = w_hh.shape[1]
            half = np.full(
                (4 * self.width, 1), 0.5, np.float32
            )  # gates: input, forget, cell, output
            half[2 * self.width : 3 * self.width] = 1.0
            bias = weights[f"encoder.bias_ih_{name}"] + weights[f"encoder.bias_hh_{name}"]
            self.inputs.append(weights[f"encoder.weight_ih_{name}"] * half)
            self.biases.append(bias * half[:, 0])
            self.hidden.append(np.ascontiguousarray((w_hh * half).T))
        self.weight = np.ascontiguousarray(np.concatenate(self.inputs).T)
        self.bias = np.concatenate(self.biases)

    def inputs_of(self, x: Floats) -> AddInputs:
        """What the tokens `[T, 2h]` of the layer below, in the order of steps, add to the gates."""
        inputs = _by_direction(x @ self.weight + self.bias)

        def add_inputs(direction: int, step: slice, gates: Floats) -> None:
            gates += inputs[direction, step]

        return add_inputs

    def run(self, add_inputs: AddInputs, steps: _Steps) -> Floats:
        """The layer's output, `[T, 2h]`, in the order of `steps.tokens`."""
        h = self.width
        out = np.empty((len(steps.tokens), 2 * h), np.float32)
        spans = list(zip([0, *steps.ends], steps.ends, strict=False))
        for direction, order in enumerate((spans, spans[::-1])):
            hidden = np.zeros((steps.num_captions, h), np.float32)
            cell = np.zeros((steps.num_captions, h), np.float32)
            for start, end in order:
                n = end - start
                a = hidden[:n] @ self.hidden[direction]
                add_inputs(direction, slice(start, end), a)
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
                out[start:end, direction * h : (direction + 1) * h] = hidden[:n]
        return out


def _by_direction(gates: Floats) -> Floats:
    """Gates `[n, 2 * 4h]` as `[2, n, 4h]`."""
    return np.ascontiguousarray(np.stack(np.split(gates, 2, 1)))


def _blocks(length: int) -> Iterator[slice]:
    """Slices small enough for their results to stay in the processor's cache."""
    for start in range(0, length, BLOCK):
        yield slice(start, start + BLOCK)


def _gelu(x: Floats) -> Floats:
    """Gaussian error linear unit, Hendrycks and Gimpel 2016, by their tanh approximation."""
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
