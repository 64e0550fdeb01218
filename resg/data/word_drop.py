"""Dropping words in training: which, and what becomes of them.

W words of a batch of C captions.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from resg.config import TrainSettings
from resg.data.batches import CaptionBatch
from resg.data.vocabulary import MASK, Vocabulary
from resg.graphs.batch import GraphBatch
from resg.graphs.ragged import Layout, group_of_row, offsets
from resg.graphs.visual import Edges

MASKED, RANDOM = 0.5, 0.1  # shares of the dropped words (Chen et al. 2021, released code)


@dataclass(frozen=True)
class DroppedWords:
    """What dropping makes of the words of a batch of captions.

    Attributes:
        counts: `[C]` words of each caption, on the host.
        is_changed: `[W]` bool, words that become others.
        others: `[W]` those others.
        is_kept: `[W]` bool, words that are not removed; each caption keeps one.
    """

    counts: Tensor
    is_changed: Tensor
    others: Tensor
    is_kept: Tensor

    @classmethod
    def draw(
        cls,
        counts: Tensor,
        settings: TrainSettings,
        vocabulary: Vocabulary,
        random: torch.Generator,
    ) -> "DroppedWords":
        """Drop words at random.

        Args:
            counts: `[C]` words of each caption, on the host.
            settings: `word_drop` and `dropped_words`.
            vocabulary: for masks and random words.
            random: the same numbers drop the same words.
        """
        ptr = offsets(counts)
        draws_W = torch.rand(int(ptr[-1]), generator=random)
        is_dropped, others = draws_W < settings.word_drop, torch.zeros_like(draws_W).long()
        if settings.dropped_words == "unknown":
            return cls(counts, is_dropped, others, torch.ones_like(is_dropped))
        fate_W = torch.rand(len(draws_W), generator=random)
        any_word = torch.randint(len(vocabulary.words), others.shape, generator=random)
        others = torch.where(fate_W < MASKED, vocabulary.word_index[MASK], any_word)
        is_changed = is_dropped & (fate_W < MASKED + RANDOM)
        is_kept = ~is_dropped | is_changed
        owner = group_of_row(ptr, len(is_kept))
        is_empty = torch.zeros_like(counts).index_add(0, owner, is_kept.long()) == 0
        is_kept[ptr[:-1][is_empty & (counts > 0)]] = True
        return cls(counts, is_changed, others, is_kept)

    @property
    def counts_left(self) -> Tensor:
        """`[C]` words of each caption that are not removed."""
        owner = group_of_row(offsets(self.counts), len(self.is_kept))
        return torch.zeros_like(self.counts).index_add(0, owner, self.is_kept.long())

    def apply(self, captions: CaptionBatch) -> CaptionBatch:
        """The captions with their dropped words; edges of a removed word are removed with it.

        Args:
            captions: ragged, on the host, without subwords.
        """
        words = torch.where(self.is_changed, self.others, captions.words)
        if bool(self.is_kept.all()):
            return replace(captions, words=words)
        place = self.is_kept.cumsum(0) - 1
        graph = captions.edges.graph
        is_edge = self.is_kept[graph.targets] & self.is_kept[graph.indices]
        ptr = offsets(self.counts_left)
        layout = Layout.of(ptr)
        kept_graph = GraphBatch.from_sorted_edges(
            ptr,
            place[graph.targets[is_edge]],
            place[graph.indices[is_edge]],
            num_nodes=layout.num_rows,
            max_nodes=layout.longest,
        )
        edges = Edges(kept_graph, captions.edges.types[is_edge])
        return replace(captions, words=words[self.is_kept], layout=layout, edges=edges)
