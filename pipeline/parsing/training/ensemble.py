"""Several networks as one: their scores are averaged at each step of decoding."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.parsing.scene_graph.decode import Floats
from pipeline.parsing.scene_graph.features import Ints
from pipeline.parsing.scene_graph.network import Captions, GraphScorer


class EncodedScorer(GraphScorer):
    """Scores of captions whose tokens were encoded before; several networks are averaged.

    Args:
        networks: their heads.
        tokens: `[T, d]` of each network, of the captions that are read next.
    """

    def __init__(self, networks: Sequence[GraphScorer], tokens: Sequence[Floats] = ()) -> None:
        self.networks, self.tokens = networks, tokens
        self.num_tags = networks[0].weights["tag.bias"].shape[0]

    def encode(self, captions: Captions) -> Any:
        """The tokens that were encoded before."""
        return self.tokens

    def tag_scores(self, tokens_Td: Any) -> Floats:
        """Mean scores of tags."""
        pairs = zip(self.networks, tokens_Td, strict=True)
        return _mean([_log_softmax(n.tag_scores(t)) for n, t in pairs])

    def pair_vectors(
        self, tokens_Td: Any, captions: Captions, ends_M2: Ints, pairs_P2: Ints
    ) -> Any:
        """The pairs' vectors of each network."""
        pairs = zip(self.networks, tokens_Td, strict=True)
        return _Several([n.pair_vectors(t, captions, ends_M2, pairs_P2) for n, t in pairs])

    def joined(self, pairs_Pd: Any) -> Floats:
        """Mean probabilities of pairs."""
        return _mean([n.joined(p) for n, p in zip(self.networks, pairs_Pd.parts, strict=True)])

    def head_scores(self, relations_Rd: Any) -> Floats:
        """Mean scores of first words."""
        pairs = zip(self.networks, relations_Rd.parts, strict=True)
        return _mean([n.head_scores(r) for n, r in pairs])

    def copy_scores(self, relations_Rd: Any, tokens_Td: Any, spans: Any) -> Floats:
        """Mean scores of copying a token."""
        parts = zip(self.networks, relations_Rd.parts, tokens_Td, strict=True)
        return _mean([n.copy_scores(r, t, spans) for n, r, t in parts])

    def tail_scores(self, relations_Rd: Any, heads_R: Any, said_R2Z: Floats) -> Floats:
        """Mean scores of ends."""
        pairs = zip(self.networks, relations_Rd.parts, strict=True)
        return _mean([n.tail_scores(r, heads_R, said_R2Z.copy()) for n, r in pairs])


class _Several:
    """The vectors of several networks, taken by rows together."""

    def __init__(self, parts: Sequence[Floats]) -> None:
        self.parts = parts

    def __getitem__(self, rows: Ints) -> "_Several":
        return _Several([part[rows] for part in self.parts])


def _mean(scores: Sequence[Floats]) -> Floats:
    return sum(scores[1:], scores[0]) / len(scores)


def _log_softmax(scores: Floats) -> Floats:
    top = scores - scores.max(1, keepdims=True)
    return top - np.log(np.exp(top).sum(1, keepdims=True))
