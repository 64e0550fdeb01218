"""Arcs of spaCy's stock English models (ClearNLP) in the shape of Universal Dependencies.

The network was trained on Universal Dependencies: content words are heads, a preposition hangs
under its noun with the label `case`, a copula under its predicate.
"""

from collections.abc import Sequence

_LABELS = {
    "acomp": "xcomp",
    "auxpass": "aux:pass",
    "csubjpass": "csubj:pass",
    "dative": "iobj",
    "dobj": "obj",
    "intj": "discourse",
    "meta": "dep",
    "neg": "advmod",
    "npadvmod": "obl:unmarked",
    "nsubjpass": "nsubj:pass",
    "oprd": "xcomp",
    "pcomp": "acl",
    "poss": "nmod:poss",
    "preconj": "cc:preconj",
    "predet": "det:predet",
    "prep": "case",
    "agent": "case",
    "prt": "compound:prt",
    "quantmod": "advmod",
    "relcl": "acl:relcl",
}
SIGNS = frozenset(("dobj", "pobj", "prep", "attr", "nsubjpass", "auxpass", "poss", "acomp"))
"""Labels that ClearNLP has and Universal Dependencies has not."""

_NOMINAL = frozenset(("NOUN", "PROPN", "PRON", "NUM"))
_BE = frozenset(("be", "is", "are", "was", "were", "been", "being", "am", "'s", "'re"))
_ROOT = "ROOT"


def universal(
    words: Sequence[str], pos: Sequence[str], heads: Sequence[int], labels: Sequence[str]
) -> tuple[list[int], list[str]]:
    """Heads and labels in the shape of Universal Dependencies.

    Args:
        words: tokens in lower case, caption after caption.
        pos: their universal parts of speech.
        heads: their heads, counted over all tokens; a root's is itself.
        labels: ClearNLP labels of their arcs.
    """
    heads, labels = list(heads), list(labels)
    _put_prepositions_under_nouns(pos, heads, labels)
    _put_copulas_under_predicates(words, heads, labels)
    return heads, [_LABELS.get(label, label) for label in labels]


def _put_prepositions_under_nouns(pos: Sequence[str], heads: list[int], labels: list[str]) -> None:
    """`sit -prep-> on -pobj-> bench` becomes `sit -obl-> bench -case-> on`."""
    for noun, label in enumerate(labels):
        preposition = heads[noun]
        if label not in ("pobj", "pcomp") or labels[preposition] not in ("prep", "agent", _ROOT):
            continue
        above = heads[preposition]
        if above == preposition:
            heads[noun], labels[noun] = noun, _ROOT
        else:
            is_noun = pos[above] in _NOMINAL and labels[preposition] == "prep"
            heads[noun], labels[noun] = above, "nmod" if is_noun else "obl"
        heads[preposition], labels[preposition] = noun, "case"


def _put_copulas_under_predicates(
    words: Sequence[str], heads: list[int], labels: list[str]
) -> None:
    """`man <-nsubj- is -acomp-> happy` becomes `man <-nsubj- happy -cop-> is`."""
    for predicate, label in enumerate(labels):
        be = heads[predicate]
        if label not in ("attr", "acomp") or words[be] not in _BE or labels[be] == "cop":
            continue
        is_root = heads[be] == be
        heads[predicate] = predicate if is_root else heads[be]
        labels[predicate] = labels[be]
        for token, head in enumerate(heads):
            if head == be and token != predicate:
                heads[token] = predicate
        heads[be], labels[be] = predicate, "cop"
