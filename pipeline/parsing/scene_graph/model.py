"""Words to graphs: the network, its vocabularies and the normal forms, saved as two files."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from pipeline.errors import DataError
from pipeline.parsing.scene_graph.decode import (
    JOINED,
    Floats,
    Graph,
    Ints,
    Node,
    Relation,
    candidate_pairs,
    chosen_pairs,
    nodes_of_tags,
)
from pipeline.parsing.scene_graph.features import Phrases, Vocabulary
from pipeline.parsing.scene_graph.network import Captions, GraphScorer, SceneGraphNetwork
from pipeline.parsing.scene_graph.normal_forms import NormalForms
from pipeline.parsing.scene_graph.supported import Supported

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
        normal_forms: strings that differ from their words.
        pos: parts of speech that the network tells apart, the unknown one first.
        deprels: labels of arcs that the network tells apart, the unknown one first.
    """

    network: GraphScorer
    heads: Sequence[str]
    tails: Sequence[str]
    normal_forms: NormalForms
    pos: Sequence[str]
    deprels: Sequence[str]

    def graphs(self, captions: Captions) -> list[Graph]:
        """The graph of each caption."""
        if not captions.words:
            return []
        tokens_Td = self.network.encode(captions)
        tags_T = self.network.tag_scores(tokens_Td).argmax(1)
        nodes = _Nodes(captions, *nodes_of_tags(tags_T, captions.offsets[:-1]))
        joined = _Joined(self.network, captions, tokens_Td, nodes)
        predicates = self._predicates(captions, tokens_Td, joined)
        relations: list[list[Relation]] = [[] for _ in captions.words]
        attributes: list[list[tuple[int, int]]] = [[] for _ in captions.words]
        ends_R2 = nodes.rank[joined.relations_R2].tolist()
        for caption, (subject, object_), predicate in zip(
            joined.captions_R.tolist(), ends_R2, predicates, strict=True
        ):
            relations[caption].append(Relation(subject, object_, *predicate))
        captions_A = nodes.captions[joined.attributes_A2[:, 0]].tolist()
        for caption, (subject, attribute) in zip(
            captions_A, nodes.rank[joined.attributes_A2].tolist(), strict=True
        ):
            attributes[caption].append((subject, attribute))
        return list(map(Graph, nodes.of_captions(), map(tuple, relations), map(tuple, attributes)))

    def _predicates(
        self, captions: Captions, tokens_Td: Floats, joined: "_Joined"
    ) -> list[tuple[str, str, int]]:
        """Head, tail and the head's token of each relation, caption after caption."""
        if not len(joined.captions_R):
            return []
        offsets, vectors = captions.offsets.tolist(), joined.relation_vectors
        captions_R: list[int] = joined.captions_R.tolist()
        closed = self.network.head_scores(vectors)
        copied = self.network.copy_scores(
            vectors, tokens_Td, [(offsets[c], offsets[c + 1]) for c in captions_R]
        )
        for caption, rows in _runs(captions_R):
            words = captions.words[caption]
            closed[rows] += self._supported.heads(words, map(self.normal_forms.lemma, words))
        heads = self._heads([captions.words[c] for c in captions_R], closed, copied)
        head_rows = [self._head_rows.get(head, len(self.heads)) for head, _ in heads]
        scores = self.network.tail_scores(vectors, head_rows, self._said(captions, joined))
        for caption, rows in _runs(captions_R):
            is_said = self._supported.tails(captions.words[caption])
            for row in range(rows.start, rows.stop):
                scores[row] += self._supported.mask_of_tails(is_said, *heads[row])
        for row, (head, _) in enumerate(heads):
            scores[row, self._tails_from.get(head, ())] = -np.inf  # not `in` and `in front of`
        best: list[int] = scores.argmax(1).tolist()
        tails = [self.tails[row] for row in best]
        return [(head, tail, token) for (head, token), tail in zip(heads, tails, strict=True)]

    def _said(self, captions: Captions, joined: "_Joined") -> Floats:
        """Which ends of predicates the captions hold, `[R, 2, Z]`: anywhere, between the nodes."""
        said = np.zeros((len(joined.captions_R), 2, len(self.tails)), np.float32)
        last, places = -1, []
        anywhere, between = [], []
        where: list[list[int]] = np.column_stack([joined.captions_R, joined.between_R2]).tolist()
        for row, (caption, left, right) in enumerate(where):
            if caption != last:
                last, places = caption, self._phrases.places(captions.words[caption])
            anywhere += [(row, tail) for _, tail in places]
            between += [(row, tail) for token, tail in places if left < token < right]
        for place, found in enumerate((anywhere, between)):
            rows, tails = np.array(found, np.int64).reshape(-1, 2).T
            said[rows, place, tails] = 1.0
        return said

    def _heads(
        self, words: Sequence[Sequence[str]], closed: Floats, copied: Floats
    ) -> list[tuple[str, int]]:
        """The likeliest first word of each predicate, and the token that says it.

        Args:
            words: of each relation's caption.
            closed: `[R, A]` scores of the closed set.
            copied: `[R, L]` scores of the caption's tokens, minus infinity behind its end.
        """
        second, top = np.partition(copied, -2, axis=1)[:, -2:].T
        is_sure: list[bool] = (top > np.maximum(closed.max(1), second) + SURE).tolist()
        tokens: list[int] = copied.argmax(1).tolist()
        return [
            (self.normal_forms.lemma(its_words[token]), token)
            if sure
            else self._head(its_words, closed[row], copied[row, : len(its_words)])
            for row, (its_words, token, sure) in enumerate(zip(words, tokens, is_sure, strict=True))
        ]

    def _head(self, words: Sequence[str], closed: Floats, copied: Floats) -> tuple[str, int]:
        """The likeliest first word of a predicate, and the token that says it.

        A word is as likely as its row in the closed set and all tokens that it is the lemma of.
        """
        best = int(closed.argmax())
        other = float(closed[best])
        top = max(float(copied.max()), other)
        by_token = np.exp(copied - top).tolist()
        weights = {self.heads[best]: math.exp(other - top)}
        says: dict[str, int] = {}
        for token, weight in enumerate(by_token):
            if weight < NEGLIGIBLE:
                continue
            head = self.normal_forms.lemma(words[token])
            if head not in weights:
                row = self._head_rows.get(head)
                weights[head] = 0.0 if row is None else math.exp(float(closed[row]) - top)
            weights[head] += weight
            if head not in says or weight > by_token[says[head]]:
                says[head] = token
        head = max(weights, key=weights.__getitem__)
        if head not in says:
            lemmas = map(self.normal_forms.lemma, words)
            return head, next((i for i, lemma in enumerate(lemmas) if lemma == head), -1)
        return head, says[head]

    def __post_init__(self) -> None:
        """Index the closed sets."""
        self._phrases = Phrases(self.tails)
        self._supported = Supported(self.heads, self.tails)
        self._head_rows = {head: row for row, head in enumerate(self.heads)}
        self._tails_from: dict[str, list[int]] = {}
        for row, tail in enumerate(self.tails):
            if tail:
                self._tails_from.setdefault(tail.split()[0], []).append(row)

    def files(self) -> dict[str, bytes]:
        """The model as files; weights in half precision."""
        assert isinstance(self.network, SceneGraphNetwork)  # the only one that is stored
        words = {
            "format": FORMAT,
            "words": list(self.network.vocabulary.words),
            "heads": list(self.heads),
            "tails": list(self.tails),
            "pos": list(self.pos),
            "deprels": list(self.deprels),
            "lexicon": self.normal_forms.to_json(),
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
        normal_forms = NormalForms.from_json(words["lexicon"]).that_are_said()
        return cls(
            network, words["heads"], words["tails"], normal_forms, words["pos"], words["deprels"]
        )

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


class _Nodes:
    """The nodes of a batch of captions.

    Attributes:
        start, end: `[M]` first token and the one behind the last, counted over all captions.
        is_attribute: `[M]` whether it is an attribute.
        captions: `[M]` its caption.
        firsts: `[B + 1]` where each caption's nodes begin.
        rank: `[M]` its place among its caption's nodes.
    """

    def __init__(
        self, captions: Captions, start: Ints, end: Ints, is_attribute: NDArray[np.bool_]
    ) -> None:
        self.start, self.end, self.is_attribute = start, end, is_attribute
        self.firsts = np.searchsorted(start, captions.offsets)
        self.captions = np.repeat(np.arange(len(captions.words)), np.diff(self.firsts))
        self.rank = np.arange(len(start)) - self.firsts[self.captions]
        self._offsets = captions.offsets[self.captions]

    def of_captions(self) -> list[tuple[Node, ...]]:
        """Each caption's nodes, with tokens counted in the caption."""
        start, end = (self.start - self._offsets).tolist(), (self.end - self._offsets).tolist()
        nodes = list(map(Node, start, end, self.is_attribute.tolist()))
        return [tuple(nodes[first:last]) for first, last in pairwise(self.firsts.tolist())]


class _Joined:
    """Pairs of nodes that the network joins.

    Attributes:
        attributes_A2: object and attribute.
        relations_R2: subject and object.
        relation_vectors: `[R, pair width]`.
        captions_R: caption of each relation.
        between_R2: the tokens of the caption that the relation's nodes stand on either side of.
    """

    def __init__(
        self, network: GraphScorer, captions: Captions, tokens_Td: Floats, nodes: _Nodes
    ) -> None:
        pairs_P2 = candidate_pairs(nodes.captions, nodes.is_attribute)
        ends_M2 = np.stack([nodes.start, nodes.end - 1], 1)
        vectors = network.pair_vectors(tokens_Td, captions, ends_M2, pairs_P2)
        is_attribute = nodes.is_attribute[pairs_P2[:, 1]]
        probabilities = np.where(is_attribute, *network.joined(vectors).T[::-1])
        is_joined = _joined(nodes, pairs_P2, probabilities)
        self.attributes_A2 = pairs_P2[is_joined & is_attribute]
        rows = np.flatnonzero(is_joined & ~is_attribute)
        self.relation_vectors = vectors[rows]
        self.relations_R2 = pairs_P2[rows]
        self.captions_R = nodes.captions[self.relations_R2[:, 0]]
        left, right = self.relations_R2.min(1), self.relations_R2.max(1)
        sides = np.stack([nodes.end[left] - 1, nodes.start[right]], 1)
        self.between_R2 = sides - captions.offsets[self.captions_R, None]


def _runs(captions_R: Sequence[int]) -> Iterator[tuple[int, slice]]:
    """Each caption that has relations, and the rows of these."""
    start = 0
    for end in range(1, len(captions_R) + 1):
        if end == len(captions_R) or captions_R[end] != captions_R[start]:
            yield captions_R[start], slice(start, end)
            start = end


def _joined(nodes: _Nodes, pairs_P2: Ints, probabilities: Floats) -> NDArray[np.bool_]:
    """Whether each pair is joined; captions with a node alone are looked at one by one."""
    is_joined = probabilities > JOINED
    is_reached = np.zeros(len(nodes.start), bool)
    is_reached[pairs_P2[is_joined]] = True
    firsts = np.searchsorted(nodes.captions[pairs_P2[:, 0]], np.arange(len(nodes.firsts))).tolist()
    for caption in np.unique(nodes.captions[~is_reached]).tolist():
        mine, first = slice(firsts[caption], firsts[caption + 1]), nodes.firsts[caption]
        chosen = chosen_pairs(
            (pairs_P2[mine] - first).tolist(),
            probabilities[mine].tolist(),
            nodes.is_attribute[first : nodes.firsts[caption + 1]].tolist(),
        )
        is_joined[mine][chosen] = True
    return is_joined
