"""Words to graphs: the network, its vocabularies and the lexicon, saved as two files."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
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
from pipeline.parsing.scene_graph.features import Ints, Phrases, Vocabulary
from pipeline.parsing.scene_graph.lexicon import Lexicon
from pipeline.parsing.scene_graph.network import Captions, SceneGraphNetwork

FORMAT = 1
SURE = 4.0
"""A token whose score leads by so much needs no comparison of words."""

NEGLIGIBLE = 0.01
"""A token less likely than this, beside the likeliest word, adds nothing to its own."""

_WEIGHTS, _WORDS = "weights.safetensors", "words.json"


@dataclass
class SceneGraphModel:
    """What the component knows.

    Attributes:
        network: scores tags, pairs and predicates.
        heads: words that may begin a predicate without standing in the caption.
        tails: ends of predicates, the empty one included.
        lexicon: strings that differ from their words.
        pos: parts of speech that the network tells apart, the unknown one first.
        deprels: labels of arcs that the network tells apart, the unknown one first.
    """

    network: SceneGraphNetwork
    heads: Sequence[str]
    tails: Sequence[str]
    lexicon: Lexicon
    pos: Sequence[str]
    deprels: Sequence[str]

    def graphs(self, captions: Captions) -> list[Graph]:
        """The graph of each caption."""
        if not captions.words:
            return []
        tokens_Td = self.network.encode(captions)
        tags = self.network.tag_scores(tokens_Td).argmax(1).tolist()
        offsets = captions.offsets.tolist()
        nodes = [nodes_of_tags(tags[start:end]) for start, end in pairwise(offsets)]
        joined = _Joined(self.network, captions, tokens_Td, nodes)
        predicates = iter(self._predicates(captions, tokens_Td, joined))
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
        self, captions: Captions, tokens_Td: Floats, joined: "_Joined"
    ) -> list[tuple[str, str, int]]:
        """Head, tail and the head's token of each relation, caption after caption."""
        if not joined.relations:
            return []
        offsets, vectors = captions.offsets.tolist(), joined.relation_vectors
        spans = [(offsets[r.caption], offsets[r.caption + 1]) for r in joined.relations]
        closed = self.network.head_scores(vectors)
        copies = self.network.copy_scores(vectors, tokens_Td, spans)
        heads = [
            self._head(captions.words[relation.caption], *scores)
            for relation, *scores in zip(joined.relations, closed, copies, strict=True)
        ]
        rows = [self._head_rows.get(head, len(self.heads)) for head, _ in heads]
        scores = self.network.tail_scores(vectors, rows, self._said(captions, joined))
        tails = [self.tails[int(row)] for row in scores.argmax(1)]
        return [(head, tail, token) for (head, token), tail in zip(heads, tails, strict=True)]

    def _said(self, captions: Captions, joined: "_Joined") -> Floats:
        """Which ends of predicates the captions hold, `[R, 2, Z]`: anywhere, between the nodes."""
        said = np.zeros((len(joined.relations), 2, len(self.tails)), np.float32)
        last, places = -1, []
        for row, relation in enumerate(joined.relations):
            if relation.caption != last:
                last, places = (
                    relation.caption,
                    self._phrases.places(captions.words[relation.caption]),
                )
            for token, tail in places:
                said[row, 0, tail] = 1.0
                if relation.left < token < relation.right:
                    said[row, 1, tail] = 1.0
        return said

    def _head(self, words: Sequence[str], closed: Floats, copied: Floats) -> tuple[str, int]:
        """The likeliest first word of a predicate, and the token that says it.

        A word is as likely as its row in the closed set and all tokens that it is the lemma of.
        """
        best, token = int(closed.argmax()), int(copied.argmax())
        top, other = float(copied[token]), float(closed[best])
        if top > other + SURE and (len(copied) == 1 or top > np.partition(copied, -2)[-2] + SURE):
            return self.lexicon.lemma(words[token]), token
        top = max(top, other)
        by_token = np.exp(copied - top).tolist()
        weights = {self.heads[best]: math.exp(other - top)}
        says: dict[str, int] = {}
        for token, weight in enumerate(by_token):
            if weight < NEGLIGIBLE:
                continue
            head = self.lexicon.lemma(words[token])
            if head not in weights:
                row = self._head_rows.get(head)
                weights[head] = 0.0 if row is None else math.exp(float(closed[row]) - top)
            weights[head] += weight
            if head not in says or weight > by_token[says[head]]:
                says[head] = token
        head = max(weights, key=weights.__getitem__)
        return head, says.get(head, -1)

    def __post_init__(self) -> None:
        """Index the closed sets."""
        self._phrases = Phrases(self.tails)
        self._head_rows = {head: row for row, head in enumerate(self.heads)}

    def files(self) -> dict[str, bytes]:
        """The model as files; weights in half precision."""
        words = {
            "format": FORMAT,
            "words": list(self.network.vocabulary.words),
            "heads": list(self.heads),
            "tails": list(self.tails),
            "pos": list(self.pos),
            "deprels": list(self.deprels),
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
        return cls(network, words["heads"], words["tails"], lexicon, words["pos"], words["deprels"])

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


@dataclass(frozen=True)
class _Place:
    """Where a relation is: its caption and, within it, the tokens that its predicate is between."""

    caption: int
    left: int
    right: int


class _Joined:
    """Pairs of nodes that the network joins.

    Attributes:
        pairs: of each caption, indices in its nodes.
        relations: where each pair of objects is, in the same order.
        relation_vectors: `[R, pair width]`.
    """

    def __init__(
        self,
        network: SceneGraphNetwork,
        captions: Captions,
        tokens_Td: Floats,
        nodes: Sequence[Sequence[Node]],
    ) -> None:
        candidates = [candidate_pairs(its_nodes) for its_nodes in nodes]
        ends, pairs, kinds = _flat(captions, nodes, candidates)
        self.pairs: list[list[tuple[int, int]]] = [[] for _ in nodes]
        self.relations: list[_Place] = []
        self.relation_vectors = np.empty((0, 0), np.float32)
        if not len(pairs):
            return
        vectors = network.pair_vectors(tokens_Td, captions, ends, pairs)
        probabilities = network.joined(vectors)[np.arange(len(kinds)), kinds].tolist()
        rows, start = [], 0
        for caption, its_pairs in enumerate(candidates):
            stop = start + len(its_pairs)
            for k in chosen_pairs(nodes[caption], its_pairs, probabilities[start:stop]):
                self.pairs[caption].append(its_pairs[k])
                subject, object_ = (nodes[caption][i] for i in its_pairs[k])
                if not object_.is_attribute:
                    rows.append(start + k)
                    left, right = sorted((subject, object_), key=lambda node: node.start)
                    self.relations.append(_Place(caption, left.end - 1, right.start))
            start = stop
        self.relation_vectors = vectors[rows]


def _flat(
    captions: Captions,
    nodes: Sequence[Sequence[Node]],
    candidates: Sequence[Sequence[tuple[int, int]]],
) -> tuple[Ints, Ints, Ints]:
    """Ends of all nodes, all pairs, and whether a pair's second node is an attribute."""
    ends, pairs, kinds = [], [], []
    starts = captions.offsets[:-1].tolist()
    for start, its_nodes, its_pairs in zip(starts, nodes, candidates, strict=True):
        first = len(ends)
        ends += [(start + node.start, start + node.end - 1) for node in its_nodes]
        pairs += [(first + i, first + j) for i, j in its_pairs]
        kinds += [int(its_nodes[j].is_attribute) for _, j in its_pairs]
    return np.array(ends).reshape(-1, 2), np.array(pairs).reshape(-1, 2), np.array(kinds)
