"""`scene_graph`: the spaCy component that has learned to turn captions into relation triples.

It reads tokens, parts of speech and arcs, and sets `doc._.objects`, `doc._.triples` with
`scene_graph` as the rule of each triple, and `doc._.negated`.

Example:
    >>> from pipeline.parsing.parser import load_parser
    >>> nlp = load_parser("embedded")
    >>> [triple.strings for triple in nlp("a man riding a brown horse")._.triples]
    [('man', 'ride', 'horse'), ('horse', 'is', 'brown')]
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import srsly
from spacy.attrs import DEP, HEAD, LOWER, POS
from spacy.language import Language
from spacy.strings import StringStore, get_string_id
from spacy.tokens import Doc, Token
from spacy.util import minibatch

from pipeline.errors import SettingsError
from pipeline.parsing.doc_triples import IS, NEGATED, NO_WORD, set_triples
from pipeline.parsing.embedded import EMBEDDED_FOLDER, LEARNED
from pipeline.parsing.scene_graph.clauses import clause_offsets, whole_captions
from pipeline.parsing.scene_graph.clearnlp import SIGNS, universal
from pipeline.parsing.scene_graph.decode import Graph, Node, Relation
from pipeline.parsing.scene_graph.features import Ints
from pipeline.parsing.scene_graph.garments import is_worn
from pipeline.parsing.scene_graph.model import SceneGraphModel
from pipeline.parsing.scene_graph.negation import without_denied
from pipeline.parsing.scene_graph.network import Captions
from pipeline.parsing.scene_graph.normal_forms import NormalForms, progressive, singular
from pipeline.parsing.scene_graph.possession import with_possessions
from pipeline.parsing.sentences import sentence_starts
from pipeline.shards.records import CaptionSpan, CaptionTriple

RULE = "scene_graph"
_CLEARNLP = np.array([get_string_id(label) for label in SIGNS], np.uint64)
_ADVERBS = frozenset(("outdoors", "indoors", "upstairs", "downstairs", "sideways", "backwards"))
_MAX_SKIPPED = 1  # a word between the words of a predicate, as `the` in `on the side of`


class SceneGraph:
    """Sets `doc._.objects`, `doc._.triples` and `doc._.negated` by a trained network.

    Args:
        name: of the component in its pipeline.
        model: what it has learned; None for what the embedded model has learned.
        keep_negated: keep what the caption denies (`no leaves`, `not wearing a hat`); the rule of
            such a triple begins with `not:`.
    """

    def __init__(
        self, name: str = RULE, model: SceneGraphModel | None = None, *, keep_negated: bool = False
    ) -> None:
        self.name = name
        self.keep_negated = keep_negated
        self._model = model

    @property
    def model(self) -> SceneGraphModel:
        """What the component has learned.

        Raises:
            SettingsError: it has no weights of its own, and the embedded model is absent.
        """
        if self._model is None:
            folder = EMBEDDED_FOLDER / LEARNED
            if not folder.is_dir():
                raise SettingsError(
                    "the scene_graph component is not trained, and the embedded model is absent. "
                    "Train one as pipeline/parsing/model/README.md says."
                )
            self._model = SceneGraphModel.load(folder)
        return self._model

    @model.setter
    def model(self, model: SceneGraphModel) -> None:
        self._model = model

    def __call__(self, doc: Doc) -> Doc:
        """Read one caption."""
        return self.read([doc])[0]

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 256, **_: Any) -> Iterator[Doc]:
        """Read captions in batches, in order."""
        for docs in minibatch(stream, size=batch_size):
            yield from self.read(docs)

    def read(self, docs: Sequence[Doc]) -> Sequence[Doc]:
        """Read a batch of captions."""
        spoken = [doc for doc in docs if len(doc)]
        clauses = self._clauses(self.model, spoken)
        graphs = self.model.graphs(clauses)
        for doc in docs:
            if not len(doc):
                set_triples(doc, [], [])
        wholes = whole_captions(clauses.words, graphs, [len(doc) for doc in spoken])
        for doc, (words, graph) in zip(spoken, wholes, strict=True):
            graph = with_possessions(doc, words, graph)
            said, is_denying = without_denied(words, graph)
            kept = graph if self.keep_negated else said
            objects, triples = records(doc, words, kept, self.model.normal_forms)
            if is_denying and self.keep_negated:
                affirmed = records(doc, words, said, self.model.normal_forms)
                triples = _with_denied_marked(objects, triples, *affirmed)
            set_triples(doc, objects, triples, negated=is_denying)
        return docs

    def _clauses(self, model: SceneGraphModel, docs: Sequence[Doc]) -> Captions:
        """What the network reads: the sentences of the captions, each clause of them apart."""
        if not docs:
            return Captions([], *[np.empty(0, np.int64)] * 3)
        strings = docs[0].vocab.strings
        attributes = [LOWER, POS, DEP, HEAD]
        columns = cast(Ints, np.concatenate([doc.to_array(attributes) for doc in docs]))
        lower, pos, deprels, distances = columns.T
        heads = np.arange(len(columns)) + distances.astype(np.int64)  # they are stored unsigned
        words = _texts(lower, strings)
        if np.isin(deprels, _CLEARNLP).any():
            heads, labels = universal(
                words, _texts(pos, strings), heads.tolist(), _texts(deprels, strings)
            )
            heads, deprels[:] = np.array(heads), [strings.add(label) for label in labels]
        begins = np.cumsum([0, *(len(doc) for doc in docs)])
        starts = [sentence_starts(doc) for doc in docs]
        sentences = np.concatenate([*map(np.add, begins, starts), begins[-1:]])
        offsets = clause_offsets(columns[:, :3], heads, sentences, strings)
        clause = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        is_cut = clause[heads] != clause
        heads[is_cut], deprels[is_cut] = np.flatnonzero(is_cut), strings["ROOT"]
        ends = zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
        return Captions(
            words=[words[start:end] for start, end in ends],
            pos=_rows(pos, model.pos, strings),
            deprels=_rows(deprels, model.deprels, strings),
            heads=heads,
        )

    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        """The component as bytes."""
        return srsly.msgpack_dumps(self._model.files() if self._model else {})

    def from_bytes(self, data: bytes, *, exclude: Iterable[str] = ()) -> "SceneGraph":
        """Take what `to_bytes` gave."""
        files = cast(dict[str, bytes], srsly.msgpack_loads(data))
        self._model = SceneGraphModel.from_files(files) if files else None
        return self

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Write the component into a folder."""
        Path(path).mkdir(parents=True, exist_ok=True)
        if self._model is not None:
            self._model.save(Path(path))

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> "SceneGraph":
        """Read the component from a folder.

        Raises:
            DataError: a file is missing.
        """
        is_empty = not any(Path(path).iterdir())  # written without weights of its own
        self._model = None if is_empty else SceneGraphModel.load(Path(path))
        return self


@Language.factory(
    RULE,
    default_config={"keep_negated": False},
    assigns=["doc._.objects", "doc._.triples", "doc._.negated"],
)
def make_scene_graph(nlp: Language, name: str, keep_negated: bool) -> SceneGraph:
    """The component, for `nlp.add_pipe("scene_graph")`; it has the embedded model's weights."""
    return SceneGraph(name, keep_negated=keep_negated)


def records(
    doc: Doc, words: Sequence[str], graph: Graph, normal_forms: NormalForms
) -> tuple[list[CaptionSpan], list[CaptionTriple]]:
    """A graph as the records of a shard: objects that something joins, relations, attributes.

    An object that nothing joins is left out, unless its sentence has nothing else.

    Args:
        doc: the caption.
        words: its tokens in lower case.
        graph: what it says.
        normal_forms: names objects and attributes.
    """
    nodes = [_without_marks(doc, node) for node in graph.nodes]
    texts = [
        words[node.start] if node.end == node.start + 1 else doc[node.start : node.end].text
        for node in nodes
    ]
    joined = {i for r in graph.relations if r.subject != r.object for i in (r.subject, r.object)}
    joined |= {subject for subject, _ in graph.attributes}
    starts = sentence_starts(doc)
    sentence_of = [bisect_right(starts, node.start) for node in nodes]
    told = {sentence_of[i] for i in joined} | {sentence_of[r.subject] for r in graph.relations}
    objects: list[CaptionSpan] = []
    place: dict[int, int] = {}
    for i, node in enumerate(nodes):
        if not node.is_attribute and (i in joined or sentence_of[i] not in told):
            place[i] = len(objects)
            objects.append(CaptionSpan(node.start, node.end, normal_forms.object_name(texts[i])))
    triples = []
    for relation in graph.relations:
        if relation.subject == relation.object:  # among several: one of them to another
            node = nodes[relation.subject]
            name = singular(normal_forms.object_name(texts[relation.subject]))
            ends = len(objects), len(objects) + 1
            objects += [CaptionSpan(node.start, node.end, name)] * 2
        else:
            ends = place[relation.subject], place[relation.object]
        predicate = _predicate_span(words, relation)
        if predicate.string == "in" and is_worn(*(objects[end].string for end in ends)):
            predicate = CaptionSpan(*NO_WORD, "wear")
        triples.append(CaptionTriple(ends[0], predicate, ends[1], None, RULE))
    for subject, attribute in graph.attributes:
        node = nodes[attribute]
        name = normal_forms.attribute_name(texts[attribute])
        if node.start >= nodes[subject].end and _is_finite(doc[node.start]):
            verb, space, rest = name.partition(" ")
            name = progressive(normal_forms.lemma(verb)) + space + rest
        span = CaptionSpan(node.start, node.end, name)
        triples.append(CaptionTriple(place[subject], CaptionSpan(*NO_WORD, IS), -1, span, RULE))
    return objects, triples


def _is_finite(token: Token) -> bool:
    """Whether what a thing does is said in the simple present: `a girl jumps`.

    Taggers trained on sentences take such verbs for nouns, so a form in -s is enough.
    """
    if token.pos_ in ("VERB", "AUX") and "Fin" in token.morph.get("VerbForm", []):
        return "Past" not in token.morph.get("Tense", [])
    is_third = token.lower_.endswith("s") and not token.lower_.endswith("ss")
    return is_third and token.pos_ in ("NOUN", "PROPN", "VERB") and token.lower_ not in _ADVERBS


def _with_denied_marked(
    objects: Sequence[CaptionSpan],
    triples: Sequence[CaptionTriple],
    affirmed_objects: Sequence[CaptionSpan],
    affirmed: Sequence[CaptionTriple],
) -> list[CaptionTriple]:
    """The triples, with `not:` before the rule of those that are not affirmed."""

    def said(triple: CaptionTriple, of: Sequence[CaptionSpan]) -> tuple[object, ...]:
        last = triple.attribute or of[triple.object]
        return of[triple.subject], triple.predicate, last

    kept = {said(triple, affirmed_objects) for triple in affirmed}
    return [
        triple if said(triple, objects) in kept else replace(triple, rule=NEGATED + triple.rule)
        for triple in triples
    ]


def _without_marks(doc: Doc, node: Node) -> Node:
    """The node without the punctuation at its end: `a ball -` is a ball."""
    end = node.end
    while end > node.start + 1 and doc[end - 1].is_punct:
        end -= 1
    return node._replace(end=end)


def _texts(codes: Ints, strings: StringStore) -> list[str]:
    """The strings of codes; each different code is looked up once."""
    values, rows = np.unique(codes, return_inverse=True)
    return np.array([strings[value] for value in values.tolist()], object)[rows].tolist()


def _rows(codes: Ints, labels: Sequence[str], strings: StringStore) -> Ints:
    """The place of each label in `labels`; 0 where it is unknown."""
    place = {label: row for row, label in enumerate(labels)}
    values, inverse = np.unique(codes, return_inverse=True)
    return np.array([place.get(strings[value], 0) for value in values.tolist()])[inverse]


def _predicate_span(words: Sequence[str], relation: Relation) -> CaptionSpan:
    """The head's token and those after it that say the tail."""
    string = f"{relation.head} {relation.tail}".rstrip()
    if relation.token < 0:
        return CaptionSpan(*NO_WORD, string)
    end = relation.token + 1
    for word in relation.tail.split():
        near = range(end, min(len(words), end + _MAX_SKIPPED + 1))
        end = next((i + 1 for i in near if words[i] == word), end)
    return CaptionSpan(relation.token, end, string)
