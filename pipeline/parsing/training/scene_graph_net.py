"""The scene-graph network in PyTorch, for training; `scene_graph/network.py` runs it in NumPy.

B captions of at most L tokens, d width; M nodes and P pairs of nodes in the whole batch; K letter
groups per word; A words that may begin a predicate (closed set), Z ends of predicates (closed set).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.parsing.scene_graph.features import ARC_KINDS

NUM_TAGS = 5
MAX_APART = 8


@dataclass(frozen=True)
class NetSettings:
    """Sizes of the network.

    Attributes:
        words: rows of the word table.
        buckets: rows of the letter table, without padding.
        heads: words that may begin a predicate.
        tails: ends of predicates.
        pos, deprels: parts of speech and labels of arcs.
        word_width, letter_width: widths of the two tables.
        width: of a token, both directions together.
        layers: of the LSTM.
        pair_width: of a pair of nodes.
        key_width: in which a pair is compared with tokens.
        pos_width, deprel_width: widths of their tables.
        dropout: probability of dropout in training.
        word_dropout: probability of dropping a word's row in training, so that letters count.
    """

    words: int
    heads: int
    tails: int
    pos: int
    deprels: int
    buckets: int = 4096
    word_width: int = 128
    letter_width: int = 64
    width: int = 256
    layers: int = 1
    pair_width: int = 192
    key_width: int = 64
    pos_width: int = 16
    deprel_width: int = 32
    dropout: float = 0.25
    word_dropout: float = 0.1


@dataclass
class Batch:
    """Captions and the pairs of their nodes.

    Attributes:
        words: `[B, L]` rows of the word table, 0 for padding.
        letters: `[B, L, K]` rows of the letter table, 0 for padding.
        lengths: `[B]`.
        pos: `[B, L]` parts of speech.
        deprels: `[B, L]` labels of arcs.
        nodes: `[M, 3]` caption, first token, last token.
        pairs: `[P, 2]` subject and object node.
        arcs: `[P]` how the parser ties them.
        phrases: `[B, L, Z]` whether an end of a predicate begins at a token.
        pieces: `[B, P]` word pieces of a pretrained encoder, 0 for padding; None without one.
        piece_lengths: `[B]` their numbers.
        piece_ends: `[B, L, 2]` first and last piece of each token.
    """

    words: Tensor
    letters: Tensor
    lengths: Tensor
    pos: Tensor
    deprels: Tensor
    nodes: Tensor
    pairs: Tensor
    arcs: Tensor
    phrases: Tensor
    pieces: Tensor | None = None
    piece_lengths: Tensor | None = None
    piece_ends: Tensor | None = None


class GraphHeads(nn.Module):
    """Tags tokens as nodes, joins pairs of nodes, and says by which words.

    A subclass has `encode`, which gives the tokens in context.
    """

    def __init__(self, settings: NetSettings) -> None:
        super().__init__()
        s = self.settings = settings
        self.tag_hidden = nn.Linear(s.width, s.width)
        self.tag = nn.Linear(s.width, NUM_TAGS)
        self.subject = nn.Linear(2 * s.width, s.pair_width)
        self.object = nn.Linear(2 * s.width, s.pair_width, bias=False)
        self.between = nn.Linear(s.width, s.pair_width, bias=False)
        self.apart = nn.Embedding(2 * MAX_APART + 1, s.pair_width)
        self.arc = nn.Embedding(ARC_KINDS * s.deprels + 1, s.pair_width)
        nn.init.normal_(self.arc.weight, std=0.1)
        self.pair_hidden = nn.Linear(s.pair_width, s.pair_width)
        self.joined = nn.Linear(s.pair_width, 2)
        self.head = nn.Linear(s.pair_width, s.heads)
        self.query = nn.Linear(s.pair_width, s.key_width)
        self.key = nn.Linear(s.width, s.key_width)
        self.tail = nn.Linear(s.pair_width, s.tails)
        self.tail_of_head = nn.Embedding(s.heads + 1, s.tails)  # the last row: any other head
        nn.init.zeros_(self.tail_of_head.weight)
        self.tail_said = nn.Parameter(torch.ones(2, s.tails))  # anywhere, between the two nodes
        self.drop = nn.Dropout(s.dropout)

    def encode(self, batch: Batch) -> Tensor:
        """Tokens in context, `[B, L, d]`."""
        raise NotImplementedError

    def tags(self, tokens_BLd: Tensor) -> Tensor:
        """Scores of each token's tag, `[B, L, 5]`."""
        return self.tag(self.drop(F.gelu(self.tag_hidden(tokens_BLd), approximate="tanh")))

    def pair_vectors(self, tokens_BLd: Tensor, batch: Batch) -> Tensor:
        """Each candidate pair's vector, `[P, pair_width]`."""
        caption, first, last = batch.nodes.unbind(1)
        ends_M2d = torch.cat([tokens_BLd[caption, first], tokens_BLd[caption, last]], -1)
        s, o = batch.pairs.unbind(1)
        left, right = torch.minimum(last[s], last[o]), torch.maximum(first[s], first[o])
        gap = (right - left - 1).clamp(min=0)
        sums = F.pad(self.between(tokens_BLd).cumsum(1), (0, 0, 1, 0))
        inside = sums[caption[s], (left + 1).clamp(max=sums.shape[1] - 1)]
        inside = sums[caption[s], torch.maximum(right, left + 1)] - inside
        inside = inside / gap.clamp(min=1).unsqueeze(1)
        apart = (first[o] - first[s]).clamp(-MAX_APART, MAX_APART) + MAX_APART
        z = self.subject(ends_M2d)[s] + self.object(ends_M2d)[o] + inside
        z = z + self.apart(apart) + self.arc(batch.arcs)
        z = self.drop(F.gelu(z, approximate="tanh"))
        return self.drop(F.gelu(self.pair_hidden(z), approximate="tanh"))

    def predicate_heads(self, pairs_Pd: Tensor, tokens_PLd: Tensor, mask_PL: Tensor) -> Tensor:
        """Scores of the closed set and of copying each token, `[P, A + L]`, log-normalised."""
        copies = torch.einsum("pk,plk->pl", self.query(pairs_Pd), self.key(tokens_PLd))
        copies = copies.masked_fill(~mask_PL, -1e9)
        return F.log_softmax(torch.cat([self.head(pairs_Pd), copies], -1), -1)

    def tails(self, pairs_Pd: Tensor, which_P: Tensor, heads_P: Tensor, batch: Batch) -> Tensor:
        """Scores of the ends of predicates, `[P, Z]`, of the pairs `which_P` of the batch.

        `heads_P` are the first words of the predicates, as rows of the closed set; any row behind
        it stands for a word that it lacks.
        """
        caption, first, last = batch.nodes.unbind(1)
        s, o = batch.pairs[which_P].unbind(1)
        left, right = torch.minimum(last[s], last[o]), torch.maximum(first[s], first[o])
        at_PLZ = batch.phrases[caption[s]]
        place = torch.arange(at_PLZ.shape[1], device=at_PLZ.device)[None]
        inside_PL = (place > left[:, None]) & (place < right[:, None])
        said = at_PLZ.any(1) * self.tail_said[0]
        of_head = self.tail_of_head(heads_P.clamp(max=self.settings.heads))
        return (
            self.tail(pairs_Pd)
            + of_head
            + said
            + (at_PLZ & inside_PL[..., None]).any(1) * self.tail_said[1]
        )


class SceneGraphNet(GraphHeads):
    """The embedded network: a bidirectional LSTM over words, letters and labels."""

    def __init__(self, settings: NetSettings) -> None:
        super().__init__(settings)
        s = settings
        self.word_table = nn.Embedding(s.words, s.word_width, padding_idx=0)
        self.letter_table = nn.Embedding(s.buckets + 1, s.letter_width, padding_idx=0)
        for table in (self.word_table, self.letter_table):
            nn.init.normal_(table.weight, std=0.3)
            nn.init.zeros_(table.weight[0])  # padding adds nothing
        self.pos_table = nn.Embedding(s.pos, s.pos_width)
        self.deprel_table = nn.Embedding(s.deprels, s.deprel_width)
        d_in = s.word_width + s.letter_width + s.pos_width + s.deprel_width
        self.encoder = nn.LSTM(
            d_in,
            s.width // 2,
            s.layers,
            batch_first=True,
            bidirectional=True,
            dropout=s.dropout if s.layers > 1 else 0.0,
        )

    def encode(self, batch: Batch) -> Tensor:
        """Tokens in context, `[B, L, d]`."""
        words = batch.words
        if self.training and self.settings.word_dropout:
            keep = torch.rand(words.shape, device=words.device) >= self.settings.word_dropout
            words = torch.where(keep | (words == 0), words, torch.ones_like(words))
        groups = (batch.letters > 0).sum(-1, keepdim=True).clamp(min=1)
        letters = self.letter_table(batch.letters).sum(-2) / groups
        shown = [
            self.word_table(words),
            letters,
            self.pos_table(batch.pos),
            self.deprel_table(batch.deprels),
        ]
        x = self.drop(torch.cat(shown, -1))
        packed = nn.utils.rnn.pack_padded_sequence(
            x, batch.lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        out, _ = self.encoder(packed)
        out, _ = nn.utils.rnn.pad_packed_sequence(out, batch_first=True, total_length=x.shape[1])
        return self.drop(out)
