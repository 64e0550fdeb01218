"""Faster versions of spaCy's components, with the same results.

Captions are a stream of short texts with a small vocabulary. spaCy spends half of its time on locks
and on work that is needed once per word. Loading, saving, training and scoring are spaCy's.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spacy.language import Language
from spacy.pipeline.dep_parser import DEFAULT_PARSER_MODEL, DependencyParser
from spacy.pipeline.edit_tree_lemmatizer import (
    DEFAULT_EDIT_TREE_LEMMATIZER_MODEL,
    EditTreeLemmatizer,
)
from spacy.tokens import Doc
from thinc.api import Model, NumpyOps

from pipeline.parsing.scene_graph.decode import Floats

MAX_KEPT = 20_000
"""Words whose vectors or lemmas are cached."""

_MIXERS = np.array(  # odd, as a product with them modulo 2^64 loses nothing
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], np.uint64
)


class StepwiseParser(DependencyParser):
    """A parser whose loop runs in Python, one step of many captions at a time.

    spaCy's own loop releases the interpreter's lock, and what Cython 3 makes of it takes the lock
    back several times a word: half of the parser's time with spaCy 3.8.
    """

    def greedy_parse(self, docs: Sequence[Doc], drop: float = 0.0) -> list[Any]:
        """The parser's states after the last step of each caption."""
        states = self.moves.init_batch(docs)
        steps = self.model.predict(docs)
        unfinished = [state for state in states if not state.is_final()]
        while unfinished:
            unfinished = self.transition_states(unfinished, steps.predict(unfinished))
        return states


@Language.factory(
    "stepwise_parser",
    assigns=["token.dep", "token.head", "token.is_sent_start", "doc.sents"],
    default_config={
        "moves": None,
        "update_with_oracle_cut_size": 100,
        "learn_tokens": False,
        "min_action_freq": 30,
        "model": DEFAULT_PARSER_MODEL,
        "scorer": {"@scorers": "spacy.parser_scorer.v1"},
    },
    default_score_weights={"dep_uas": 0.5, "dep_las": 0.5, "dep_las_per_type": None},
)
def make_stepwise_parser(
    nlp: Language,
    name: str,
    model: Model,
    moves: list | None,
    update_with_oracle_cut_size: int,
    learn_tokens: bool,
    min_action_freq: int,
    scorer: Callable | None,
) -> StepwiseParser:
    """The component, with the settings of spaCy's `parser`."""
    return StepwiseParser(
        nlp.vocab,
        model,
        name,
        moves,
        update_with_oracle_cut_size=update_with_oracle_cut_size,
        learn_tokens=learn_tokens,
        min_action_freq=min_action_freq,
        scorer=scorer,
    )


class WordLemmatizer(EditTreeLemmatizer):
    """A lemmatizer that takes each token's most probable edit, and edits each word once."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._kept: dict[tuple[int, int], int] = {}

    def predict(self, docs: Iterable[Doc]) -> list[Any]:
        """Each token's edit, by its row among the labels."""
        docs = list(docs)
        if not any(len(doc) for doc in docs):
            return [np.empty(0, np.int64) for _ in docs]
        return [scores.argmax(axis=1) for scores in self.model.predict(docs)]

    def set_annotations(self, docs: Iterable[Doc], batch_tree_ids: Sequence[Any]) -> None:
        """Set the lemmas of all tokens, or of those that have none, by the rows of their edits."""
        if len(self._kept) > MAX_KEPT:
            self._kept.clear()
        for doc, its_rows in zip(docs, batch_tree_ids, strict=True):
            for token, row in zip(doc, its_rows.tolist(), strict=True):
                if self.overwrite or not token.lemma:
                    key = token.orth, row
                    lemma = self._kept.get(key)
                    if lemma is None:
                        lemma = self._kept[key] = self._lemma(token.text, row)
                    token.lemma = lemma

    def _lemma(self, word: str, row: int) -> int:
        """The lemma's code; the word's own where the edit does not fit it."""
        lemma = self.trees.apply(self.cfg["labels"][row], word)
        return self.vocab.strings.add(word if lemma is None else lemma)


@Language.factory(
    "word_lemmatizer",
    assigns=["token.lemma"],
    default_config={
        "model": DEFAULT_EDIT_TREE_LEMMATIZER_MODEL,
        "min_tree_freq": 3,
        "overwrite": False,
        "scorer": {"@scorers": "spacy.lemmatizer_scorer.v1"},
    },
    default_score_weights={"lemma_acc": 1.0},
)
def make_word_lemmatizer(
    nlp: Language,
    name: str,
    model: Model,
    min_tree_freq: int,
    overwrite: bool,
    scorer: Callable | None,
) -> WordLemmatizer:
    """The component, with the settings of spaCy's `trainable_lemmatizer`."""
    return WordLemmatizer(
        nlp.vocab, model, name, min_tree_freq=min_tree_freq, overwrite=overwrite, scorer=scorer
    )


def keep_word_vectors(model: Model) -> None:
    """Let a Tok2Vec model compute the context-free vector of each word once.

    The model must not be trained any more. One whose words have vectors of another kind than
    spaCy's MultiHashEmbed stays as it is.
    """
    embed = model.maybe_get_ref("embed")
    if embed is None or len(embed.layers) < 2 or not isinstance(embed.ops, NumpyOps):
        return
    columns = embed.layers[0].attrs.get("columns") or ()
    if embed.layers[0].name == "extract_features" and len(columns) <= len(_MIXERS):
        kept = _KeptVectors(embed)
        model.replace_node(
            embed,
            Model(
                embed.name,
                lambda _, docs, is_train: (kept.vectors(docs), _no_training),
                layers=embed.layers,
                dims={"nO": embed.get_dim("nO")},
            ),
        )


class _KeptVectors:
    """Cached vectors of words, by their features."""

    def __init__(self, embed: Model) -> None:
        self._extract, *self._others = embed.layers
        self._rows: dict[int, int] = {}
        self._table = np.empty((0, embed.get_dim("nO")), np.float32)

    def vectors(self, docs: Sequence[Doc]) -> list[Floats]:
        """Each caption's vectors."""
        by_doc = self._extract.predict(docs)
        features = np.concatenate(by_doc)
        keys = (features * _MIXERS[: features.shape[1]]).sum(1, dtype=np.uint64)
        keys, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        rows = np.array(self._rows_of(keys.tolist(), features[first]), np.int64)[inverse]
        return np.split(self._table[rows], np.cumsum([len(f) for f in by_doc[:-1]]))

    def _rows_of(self, keys: Sequence[int], features: NDArray[np.uint64]) -> list[int]:
        unknown = [i for i, key in enumerate(keys) if key not in self._rows]
        if unknown:
            if len(self._rows) + len(unknown) > MAX_KEPT:
                self._rows.clear()
                unknown = list(range(len(keys)))
            made: Any = [np.ascontiguousarray(features[unknown])]
            for layer in self._others:
                made = layer.predict(made)
            self._table = np.concatenate([self._table[: len(self._rows)], *made])
            for i in unknown:
                self._rows[keys[i]] = len(self._rows)
        return [self._rows[key] for key in keys]


def _no_training(_: Any) -> Any:
    raise RuntimeError("a pipeline that was loaded to parse cannot be trained; load it with spaCy")
