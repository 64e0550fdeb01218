"""Split captions into clauses that have subjects of their own, joined by `and` or `while`.

The network was trained on captions of one clause, so it relates every subject of a caption to every
verb: in `a man is singing and a woman is dancing` the man would dance too.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spacy.strings import StringStore

from pipeline.parsing.scene_graph.decode import Graph, Node, Relation

Ints = NDArray[np.integer[Any]]

_SUBJECTS = ("nsubj", "nsubj:pass", "nsubj:outer")
_CLAUSES = ("conj", "advcl", "parataxis")
_JOINERS = ("and", "&", "while", "whilst", "as", "but", "when")
_PRONOUN = "PRON"
_PUNCTUATION = "punct"


def clause_offsets(columns: Ints, heads_T: Ints, offsets: Ints, strings: StringStore) -> Ints:
    """Where sentences, and the clauses in them that the arcs let stand alone, begin.

    A clause begins behind its `and` or `while`. It has a subject that is no pronoun, as `he` needs
    the man before, and no arc but its own root's ties it to what stands on the other side.

    Args:
        columns: `[T, 3]` codes of lower-cased word, part of speech and label of each token,
            sentence after sentence.
        heads_T: each token's head, counted over all sentences; a root's is itself.
        offsets: `[B + 1]` where each sentence's tokens begin.
        strings: what the codes stand for.

    Returns:
        `[C + 1]` where each clause's tokens begin; a sentence of one clause is a clause.
    """
    lower_T, pos_T, labels_T = columns.T
    is_subject = _is_any(labels_T, _SUBJECTS, strings) & (pos_T != strings[_PRONOUN])
    is_root = np.zeros(len(heads_T), bool)
    is_root[heads_T[is_subject]] = True
    is_root &= _is_any(labels_T, _CLAUSES, strings)
    joiners = np.flatnonzero(is_root[heads_T] & _is_any(lower_T, _JOINERS, strings))
    is_free = is_root | (labels_T == strings[_PUNCTUATION])
    starts = offsets.tolist()
    for joiner in joiners.tolist():
        sentence = int(np.searchsorted(offsets, joiner, "right"))
        start, end = offsets[sentence - 1], offsets[sentence]
        subjects = np.flatnonzero(is_subject[joiner:end] & (heads_T[joiner:end] == heads_T[joiner]))
        before, behind = slice(start, joiner), slice(joiner + 1, end)
        if (
            joiner > start
            and len(subjects)
            and np.all((heads_T[before] < joiner) | is_free[before])
            and np.all((heads_T[behind] > joiner) | is_free[behind])
        ):
            starts.append(joiner + 1)
    return np.unique(starts)


def _is_any(codes: Ints, names: Sequence[str], strings: StringStore) -> NDArray[np.bool_]:
    return np.isin(codes, np.array([strings[name] for name in names], np.uint64))


def whole_captions(
    words: Sequence[Sequence[str]], graphs: Sequence[Graph], lengths: Iterable[int]
) -> Iterator[tuple[Sequence[str], Graph]]:
    """Words and graph of each caption, from those of its clauses.

    Args:
        words: of the clauses of all captions, in order.
        graphs: of the clauses.
        lengths: number of words of each caption.
    """
    clauses = zip(words, graphs, strict=True)
    for length in lengths:
        its_words, graph = next(clauses)
        while len(its_words) < length:
            more_words, more = next(clauses)
            graph = _joined(graph, more, len(its_words))
            its_words = [*its_words, *more_words]
        yield its_words, graph


def _joined(graph: Graph, more: Graph, start: int) -> Graph:
    """Both as one, where `more` speaks of the tokens from `start` on."""
    n = len(graph.nodes)
    return Graph(
        graph.nodes + tuple(Node(a + start, b + start, kind) for a, b, kind in more.nodes),
        graph.relations
        + tuple(
            Relation(s + n, o + n, head, tail, token + start if token >= 0 else -1)
            for s, o, head, tail, token in more.relations
        ),
        graph.attributes + tuple((s + n, a + n) for s, a in more.attributes),
    )
