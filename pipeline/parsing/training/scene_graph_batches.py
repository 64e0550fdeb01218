"""Examples as tensors, and batches of them.

N captions of at most L tokens; M nodes and P candidate pairs of nodes; the rows of a caption's
nodes, pairs and phrases lie together, and `*_starts` says where.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.parsing.scene_graph.decode import Node, candidate_pairs, tags_of_nodes
from pipeline.parsing.scene_graph.features import Phrases, Vocabulary, arc_codes, letter_rows
from pipeline.parsing.scene_graph.model import SceneGraphModel
from pipeline.parsing.scene_graph.network import SceneGraphNetwork
from pipeline.parsing.scene_graph.normal_forms import NormalForms
from pipeline.parsing.training.examples import Example
from pipeline.parsing.training.scene_graph_net import Batch, NetSettings
from pipeline.parsing.training.word_pieces import WordPieces

NO_TAG = -100
MIN_WORD_COUNT, MIN_HEAD_COUNT, MIN_TAIL_COUNT = 2, 3, 2
MAX_LETTER_GROUPS = 24


@dataclass(frozen=True)
class ClosedSets:
    """The closed vocabularies, counted in training examples.

    Attributes:
        words: the vocabulary.
        heads: first words of predicates.
        tails: their other words, the empty string included.
        pos, deprels: the parser's labels, the unknown one first.
    """

    words: tuple[str, ...]
    heads: tuple[str, ...]
    tails: tuple[str, ...]
    pos: tuple[str, ...]
    deprels: tuple[str, ...]

    @classmethod
    def of(cls, examples: Sequence[Example]) -> "ClosedSets":
        """Count the closed sets of examples; the most frequent come first."""
        words = Counter(word.lower() for example in examples for word in example.words)
        predicates = [p.partition(" ") for example in examples for _, p, _ in example.relations]
        heads, tails = Counter(p[0] for p in predicates), Counter(p[2] for p in predicates)
        pos = {label for example in examples for label in example.pos}
        deprels = {label for example in examples for label in example.deprels}
        return cls(
            words=_frequent(words, MIN_WORD_COUNT),
            heads=_frequent(heads, MIN_HEAD_COUNT),
            tails=_frequent(tails, MIN_TAIL_COUNT),
            pos=("", *sorted(pos)),
            deprels=("", *sorted(deprels)),
        )

    @classmethod
    def of_model(cls, model: SceneGraphModel) -> "ClosedSets":
        """Those of a trained component."""
        assert isinstance(model.network, SceneGraphNetwork)
        words = tuple(model.network.vocabulary.words)
        rows = (model.heads, model.tails, model.pos, model.deprels)
        return cls(words, *map(tuple, rows))

    def sizes(self) -> NetSettings:
        """A network's settings with a row for each, the other ones as they are by default."""
        return NetSettings(
            words=len(Vocabulary(self.words)),
            heads=len(self.heads),
            tails=len(self.tails),
            pos=len(self.pos),
            deprels=len(self.deprels),
        )


@dataclass
class Targets:
    """Training targets of a batch.

    Attributes:
        tags: `[B, L]`, `NO_TAG` for padding.
        is_attribute: `[P]` whether the pair's second node is an attribute.
        is_joined: `[P]` whether gold joins the pair.
        heads: `[P]` the predicate's first word, as one of `lemmas`; -1 where there is none.
        tails: `[P]` row of the predicate's end, -1 where there is none.
        lemmas: `[B, L]` the word that each token would begin a predicate with; rows of the closed
            set come first, so that both can be compared.
    """

    tags: Tensor
    is_attribute: Tensor
    is_joined: Tensor
    heads: Tensor
    tails: Tensor
    lemmas: Tensor


class TrainingData:
    """Examples as padded tensors on one device.

    Args:
        examples: captions with their graphs.
        closed: what has a row of its own.
        normal_forms: gives lemmas.
        buckets: rows of the letter table.
        device: of the tensors.
        word_pieces: splits words for a pretrained encoder; None without one.
        repeats: how often each example comes in an epoch; None for once.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        closed: ClosedSets,
        normal_forms: NormalForms,
        buckets: int,
        device: torch.device,
        word_pieces: WordPieces | None = None,
        repeats: Sequence[int] | None = None,
    ) -> None:
        self.device, self.num_tails = device, len(closed.tails)
        self.lengths = torch.tensor([len(e.words) for e in examples], device=device)
        vocabulary, types = Vocabulary(closed.words), _Rows()
        lemmas, pos, deprels = _Rows(closed.heads), _Rows(closed.pos), _Rows(closed.deprels)
        lower = [[word.lower() for word in e.words] for e in examples]
        self.words = self._padded([[vocabulary.row(w) for w in words] for words in lower])
        self.types = self._padded([[types[w] for w in words] for words in lower])
        self.lemmas = self._padded(
            [[lemmas[normal_forms.lemma(w)] for w in ws] for ws in lower], -1
        )
        self.pos = self._padded([[pos.get(label, 0) for label in e.pos] for e in examples])
        self.deprels = self._padded([[deprels.get(d, 0) for d in e.deprels] for e in examples])
        nodes = [[Node(*node) for node in e.nodes] for e in examples]
        tags = [tags_of_nodes(n, len(e.words)) for n, e in zip(nodes, examples, strict=True)]
        self.tags = self._padded(tags, NO_TAG)
        self.letters = self._letters(types, buckets)
        ends = [[(node.start, node.end - 1) for node in n] for n in nodes]
        self.nodes, self.node_starts = self._joined(ends, 2)
        tails = {tail: row for row, tail in enumerate(closed.tails)}
        pairs = [_pairs(e, n, lemmas, tails) for e, n in zip(examples, nodes, strict=True)]
        self.pairs, self.pair_starts = self._joined(pairs, 6)
        arcs = [
            _arcs(e, end, pair, deprels) for e, end, pair in zip(examples, ends, pairs, strict=True)
        ]
        self.arcs, _ = self._joined(arcs, 1)
        phrases = Phrases(closed.tails)
        self.phrases, self.phrase_starts = self._joined([phrases.places(w) for w in lower], 2)
        self.pieces = self.piece_lengths = self.piece_ends = None
        if word_pieces is not None:
            split = [word_pieces.of_caption(words) for words in lower]
            self.pieces = self._padded([pieces for pieces, _ in split])
            self.piece_lengths = torch.tensor([len(pieces) for pieces, _ in split], device=device)
            ends_of = [self._padded([[e[k] for e in ends] for _, ends in split]) for k in (0, 1)]
            self.piece_ends = torch.stack(ends_of, -1)

        times = torch.ones_like(self.lengths) if repeats is None else torch.tensor(repeats)
        self.rows = torch.arange(len(examples), device=device).repeat_interleave(times.to(device))

    def __len__(self) -> int:
        return len(self.rows)

    def order(self) -> Tensor:
        """The captions of an epoch in a random order."""
        return self.rows[torch.randperm(len(self), device=self.device)]

    def batch(self, which_B: Tensor) -> tuple[Batch, Targets]:
        """A batch of captions and its targets."""
        longest = int(self.lengths[which_B].max())
        captions, rows, first_node = self._rows_of(self.node_starts, which_B)
        nodes = torch.cat([captions[:, None], self.nodes[rows]], 1)
        captions, rows, _ = self._rows_of(self.pair_starts, which_B)
        pairs, arcs = self.pairs[rows], self.arcs[rows, 0]
        captions_of, phrase_rows, _ = self._rows_of(self.phrase_starts, which_B)
        token, tail = self.phrases[phrase_rows].unbind(1)
        phrases = torch.zeros(
            len(which_B), longest, self.num_tails, dtype=torch.bool, device=self.device
        )
        phrases[captions_of, token, tail] = True
        cut = (which_B, slice(longest))
        batch = Batch(
            words=self.words[cut],
            letters=self.letters[self.types[cut]],
            lengths=self.lengths[which_B],
            pos=self.pos[cut],
            deprels=self.deprels[cut],
            nodes=nodes,
            pairs=pairs[:, :2] + first_node[captions][:, None],
            arcs=arcs,
            phrases=phrases,
        )
        if self.pieces is not None:
            assert self.piece_lengths is not None
            assert self.piece_ends is not None
            batch.piece_lengths = self.piece_lengths[which_B]
            batch.pieces = self.pieces[which_B, : int(batch.piece_lengths.max())]
            batch.piece_ends = self.piece_ends[cut]
        is_attribute, is_joined, heads, tails = pairs[:, 2:].unbind(1)
        targets = Targets(self.tags[cut], is_attribute, is_joined, heads, tails, self.lemmas[cut])
        return batch, targets

    def _rows_of(self, starts: Tensor, which_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Caption (in the batch) and row of everything that the captions have, and their firsts."""
        counts = starts[which_B + 1] - starts[which_B]
        captions = torch.repeat_interleave(torch.arange(len(which_B), device=self.device), counts)
        first = torch.cumsum(counts, 0) - counts
        place = torch.arange(len(captions), device=self.device) - first[captions]
        return captions, starts[which_B][captions] + place, first

    def _padded(self, rows: Sequence[Sequence[int]], padding: int = 0) -> Tensor:
        out = np.full((len(rows), max(map(len, rows))), padding, np.int64)
        for i, row in enumerate(rows):
            out[i, : len(row)] = row
        return torch.as_tensor(out, device=self.device)

    def _joined(self, rows: Sequence[Sequence], width: int) -> tuple[Tensor, Tensor]:
        flat = np.array([x for row in rows for x in row], np.int64).reshape(-1, width)
        starts = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
        return torch.as_tensor(flat, device=self.device), torch.as_tensor(
            starts, device=self.device
        )

    def _letters(self, types: "_Rows", buckets: int) -> Tensor:
        return self._padded([letter_rows(word, buckets)[:MAX_LETTER_GROUPS] for word in types])


class _Rows(dict[str, int]):
    """Strings numbered as they come, those that are given first."""

    def __init__(self, known: Sequence[str] = ()) -> None:
        super().__init__((string, row) for row, string in enumerate(known))

    def __missing__(self, string: str) -> int:
        self[string] = len(self)
        return self[string]


def _pairs(
    example: Example, nodes: Sequence[Node], lemmas: _Rows, tails: dict[str, int]
) -> list[tuple[int, int, bool, bool, int, int]]:
    """Candidate pairs with is_attribute, is_joined, head and tail."""
    predicates: dict[tuple[int, int], str] = {}
    for subject, predicate, object_ in example.relations:
        predicates.setdefault((subject, object_), predicate)
    attributes = {(subject, attribute) for subject, attribute in example.attributes}
    rows = []
    is_attribute = np.array([node.is_attribute for node in nodes], bool)
    for i, j in candidate_pairs(np.zeros(len(nodes), int), is_attribute).tolist():
        head = tail = -1
        if (i, j) in predicates:
            first, _, rest = predicates[i, j].partition(" ")
            head, tail = lemmas[first], tails.get(rest, -1)
        is_joined = (i, j) in predicates or (i, j) in attributes
        rows.append((i, j, nodes[j].is_attribute, is_joined, head, tail))
    return rows


def _arcs(
    example: Example, ends: Sequence[tuple[int, int]], pairs: Sequence, deprels: _Rows
) -> list[int]:
    if not pairs:
        return []
    first, last = np.array(ends).T
    both = np.array([pair[:2] for pair in pairs])
    labels = np.array([deprels.get(label, 0) for label in example.deprels])
    return arc_codes(first, last, both, np.array(example.heads), labels, len(deprels)).tolist()


def _frequent(counts: Counter[str], least: int) -> tuple[str, ...]:
    return tuple(string for string, count in counts.most_common() if count >= least)
