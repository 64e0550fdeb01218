"""Words to graphs: the network, its vocabularies and the lexicon, saved as two files."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from pipeline.errors import DataError
from pipeline.parsing.scene_graph.decode import (
    Floats,
    Graph,
    Node,
    Relation,
    candidate_pairs,
    chosen_pairs,
    nodes_of_tags,
)
from pipeline.parsing.scene_graph.features import Vocabulary
from pipeline.parsing.scene_graph.lexicon import Lexicon
from pipeline.parsing.scene_graph.network import Encoded, SceneGraphNetwork

FORMAT = 1
_WEIGHTS, _WORDS = "weights.safetensors", "words.json"


@dataclass
class SceneGraphModel:
    """What the component knows.

    Attributes:
        network: scores tags, pairs and predicates.
        heads: words that may begin a predicate without standing in the caption.
        tails: ends of predicates, the empty one included.
        lexicon: strings that differ from their words.
    """

    network: SceneGraphNetwork
    heads: Sequence[str]
    tails: Sequence[str]
    lexicon: Lexicon

    def graphs(self, captions: Sequence[Sequence[str]]) -> list[Graph]:
        """The graph of each caption, given its words in lower case; no caption may be empty."""
        if not captions:
            return []
        encoded = self.network.encode(captions)
        tags = self.network.tag_scores(encoded).argmax(1).tolist()
        offsets = encoded.offsets.tolist()
        nodes = [nodes_of_tags(tags[start:end]) for start, end in zip(offsets, offsets[1:])]
        joined = _Joined(self.network, encoded, nodes)
        predicates = iter(self._predicates(captions, encoded, joined))
        graphs = []
        for caption, its_nodes in enumerate(nodes):
            relations, attributes = [], []
            for subject, object_ in joined.pairs[caption]:
                if its_nodes[object_].is_attribute:
                    attributes.append((subject, object_))
                else:
                    relations.append(Relation(subject, object_, *next(predicates)))
            graphs.append(Graph(tuple(its_nodes), tuple(relations), tuple(attributes)))
        return graphs

    def _predicates(
        self, captions: Sequence[Sequence[str]], encoded: Encoded, joined: "_Joined"
    ) -> list[tuple[str, str, int]]:
        """Head, tail and the head's token of each relation, caption after caption."""
        if not len(joined.relation_vectors):
            return []
        network, offsets = self.network, encoded.offsets
        closed = network.head_scores(joined.relation_vectors)
        tails = network.tail_scores(joined.relation_vectors).argmax(1).tolist()
        tokens = [encoded.tokens_Td[offsets[c] : offsets[c + 1]] for c in joined.relation_captions]
        copies = network.copy_scores(joined.relation_vectors, tokens)
        predicates = []
        for caption, scores, copied, tail in zip(
            joined.relation_captions, closed, copies, tails, strict=True
        ):
            head, token = self._head(captions[caption], scores, copied)
            predicates.append((head, self.tails[tail], token))
        return predicates

    def _head(self, words: Sequence[str], closed: Floats, copied: Floats) -> tuple[str, int]:
        """The likeliest first word of a predicate: a word is likely by its own and by its tokens."""
        top = max(closed.max(), copied.max())
        by_class, by_token = np.exp(closed - top), np.exp(copied - top).tolist()
        best = int(by_class.argmax())
        weights = {self.heads[best]: float(by_class[best])}
        says: dict[str, int] = {}
        least = 0.01 * max(weights[self.heads[best]], *by_token)
        for token, weight in enumerate(by_token):
            if weight < least:
                continue
            head = self.lexicon.lemma(words[token])
            if head not in weights:
                place = self._head_rows.get(head)
                weights[head] = 0.0 if place is None else float(by_class[place])
            weights[head] += weight
            if head not in says or weight > by_token[says[head]]:
                says[head] = token
        head = max(weights, key=weights.__getitem__)
        return head, says.get(head, -1)

    def __post_init__(self) -> None:
        """Index the closed set of heads."""
        self._head_rows = {head: row for row, head in enumerate(self.heads)}

    def files(self) -> dict[str, bytes]:
        """The model as files; weights in half precision."""
        words = {
            "format": FORMAT,
            "words": list(self.network.vocabulary.words),
            "heads": list(self.heads),
            "tails": list(self.tails),
            "lexicon": self.lexicon.to_json(),
        }
        half = {name: w.astype(np.float16) for name, w in self.network.weights.items()}
        return {
            _WEIGHTS: save_tensors(half),
            _WORDS: json.dumps(words, ensure_ascii=False).encode("utf-8"),
        }

    @classmethod
    def from_files(cls, files: dict[str, bytes]) -> "SceneGraphModel":
        """The model that `files` wrote.

        Raises:
            DataError: it is of another format.
        """
        words = json.loads(files[_WORDS])
        if words.get("format") != FORMAT:
            raise DataError(
                f"the scene_graph component has format {words.get('format')}, this version reads "
                f"{FORMAT}. Train it again, or take the version of the package that wrote it."
            )
        network = SceneGraphNetwork(load_tensors(files[_WEIGHTS]), Vocabulary(words["words"]))
        lexicon = Lexicon.from_json(words["lexicon"])
        return cls(network, words["heads"], words["tails"], lexicon)

    def save(self, folder: Path) -> None:
        """Write the model's two files into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.files().items():
            (folder / name).write_bytes(content)

    @classmethod
    def load(cls, folder: Path) -> "SceneGraphModel":
        """The model of a folder.

        Raises:
            DataError: a file is missing, or the format is another.
        """
        missing = [name for name in (_WEIGHTS, _WORDS) if not (folder / name).is_file()]
        if missing:
            raise DataError(f"{folder} is no scene_graph component: {', '.join(missing)} missing.")
        return cls.from_files({name: (folder / name).read_bytes() for name in (_WEIGHTS, _WORDS)})


class _Joined:
    """Pairs of nodes that the network joins.

    Attributes:
        pairs: of each caption, indices in its nodes.
        relation_captions: caption of each pair of objects, in the same order.
        relation_vectors: `[R, pair width]`.
    """

    def __init__(
        self, network: SceneGraphNetwork, encoded: Encoded, nodes: Sequence[Sequence[Node]]
    ) -> None:
        candidates = [candidate_pairs(its_nodes) for its_nodes in nodes]
        ends, pairs, kinds = _flat(encoded, nodes, candidates)
        self.pairs: list[list[tuple[int, int]]] = [[] for _ in nodes]
        self.relation_captions: list[int] = []
        self.relation_vectors = np.empty((0, 0), np.float32)
        if not len(pairs):
            return
        vectors = network.pair_vectors(encoded, ends, pairs)
        probabilities = network.joined(vectors)[np.arange(len(kinds)), kinds].tolist()
        rows, start = [], 0
        for caption, its_pairs in enumerate(candidates):
            stop = start + len(its_pairs)
            for k in chosen_pairs(nodes[caption], its_pairs, probabilities[start:stop]):
                self.pairs[caption].append(its_pairs[k])
                if not kinds[start + k]:
                    rows.append(start + k)
                    self.relation_captions.append(caption)
            start = stop
        self.relation_vectors = vectors[rows]


def _flat(
    encoded: Encoded,
    nodes: Sequence[Sequence[Node]],
    candidates: Sequence[Sequence[tuple[int, int]]],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ends of all nodes, all pairs, and whether a pair's second node is an attribute."""
    ends, pairs, kinds = [], [], []
    for start, its_nodes, its_pairs in zip(encoded.offsets.tolist(), nodes, candidates):
        first = len(ends)
        ends += [(start + node.start, start + node.end - 1) for node in its_nodes]
        pairs += [(first + i, first + j) for i, j in its_pairs]
        kinds += [int(its_nodes[j].is_attribute) for _, j in its_pairs]
    return np.array(ends).reshape(-1, 2), np.array(pairs).reshape(-1, 2), np.array(kinds)
