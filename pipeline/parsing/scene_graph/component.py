"""`scene_graph`: the spaCy component that has learned to turn captions into relation triples.

It reads tokens, parts of speech and arcs, and says what `relation_triples` says: `doc._.objects`,
`doc._.triples` with `scene_graph` as the rule of each triple, and `doc._.negated`.

Example:
    >>> from pipeline.parsing.parser import load_parser
    >>> nlp = load_parser("embedded")
    >>> [triple.strings for triple in nlp("a man riding a brown horse")._.triples]
    [('man', 'ride', 'horse'), ('horse', 'is', 'brown')]
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import srsly
from spacy.attrs import DEP, HEAD, LOWER, POS
from spacy.language import Language
from spacy.strings import StringStore
from spacy.tokens import Doc
from spacy.util import minibatch

from pipeline.errors import SettingsError
from pipeline.parsing.doc_triples import IS, NO_WORD, set_triples
from pipeline.parsing.scene_graph.clauses import clause_offsets, whole_captions
from pipeline.parsing.scene_graph.decode import Graph, Node, Relation
from pipeline.parsing.scene_graph.features import Ints
from pipeline.parsing.scene_graph.model import SceneGraphModel
from pipeline.parsing.scene_graph.negation import without_denied
from pipeline.parsing.scene_graph.network import Captions
from pipeline.parsing.scene_graph.normal_forms import NormalForms, singular
from pipeline.parsing.sentences import sentence_starts
from pipeline.shards.records import CaptionSpan, CaptionTriple

RULE = "scene_graph"
_MAX_SKIPPED = 1  # a word between the words of a predicate, as `the` in `on the side of`


class SceneGraph:
    """Sets `doc._.objects`, `doc._.triples` and `doc._.negated` by a trained network.

    Args:
        name: of the component in its pipeline.
        model: what it has learned; None until it is read from disk or bytes.
    """

    def __init__(self, name: str = RULE, model: SceneGraphModel | None = None) -> None:
        self.name = name
        self.model = model

    def __call__(self, doc: Doc) -> Doc:
        """Read one caption."""
        return self.read([doc])[0]

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 256, **_: Any) -> Iterator[Doc]:
        """Read captions in batches, in order."""
        for docs in minibatch(stream, size=batch_size):
            yield from self.read(docs)

    def read(self, docs: Sequence[Doc]) -> Sequence[Doc]:
        """Read a batch of captions.

        Raises:
            SettingsError: the component has not been trained.
        """
        if self.model is None:
            raise SettingsError(
                "the scene_graph component is not trained. Load a pipeline that has it, such as "
                "load_parser('embedded'), or train one as pipeline/parsing/model/README.md says."
            )
        spoken = [doc for doc in docs if len(doc)]
        clauses = self._clauses(self.model, spoken)
        graphs = self.model.graphs(clauses)
        for doc in docs:
            if not len(doc):
                set_triples(doc, [], [])
        wholes = whole_captions(clauses.words, graphs, [len(doc) for doc in spoken])
        for doc, (words, graph) in zip(spoken, wholes, strict=True):
            said, is_denying = without_denied(words, graph)
            set_triples(
                doc, *records(doc, words, said, self.model.normal_forms), negated=is_denying
            )
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
        codes, rows = np.unique(lower, return_inverse=True)
        words = np.array([strings[code] for code in codes.tolist()], object)[rows].tolist()
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
        return srsly.msgpack_dumps(self.model.files() if self.model else {})

    def from_bytes(self, data: bytes, *, exclude: Iterable[str] = ()) -> "SceneGraph":
        """Take what `to_bytes` gave."""
        files = cast(dict[str, bytes], srsly.msgpack_loads(data))
        self.model = SceneGraphModel.from_files(files) if files else None
        return self

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Write the component into a folder."""
        Path(path).mkdir(parents=True, exist_ok=True)
        if self.model is not None:
            self.model.save(Path(path))

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> "SceneGraph":
        """Read the component from a folder.

        Raises:
            DataError: a file is missing.
        """
        self.model = SceneGraphModel.load(Path(path))
        return self


@Language.factory(RULE, assigns=["doc._.objects", "doc._.triples", "doc._.negated"])
def make_scene_graph(nlp: Language, name: str) -> SceneGraph:
    """The component, for `nlp.add_pipe("scene_graph")`."""
    return SceneGraph(name)


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
        triples.append(CaptionTriple(ends[0], predicate, ends[1], None, RULE))
    for subject, attribute in graph.attributes:
        node = nodes[attribute]
        span = CaptionSpan(node.start, node.end, normal_forms.attribute_name(texts[attribute]))
        triples.append(CaptionTriple(place[subject], CaptionSpan(*NO_WORD, IS), -1, span, RULE))
    return objects, triples


def _without_marks(doc: Doc, node: Node) -> Node:
    """The node without the punctuation at its end: `a ball -` is a ball."""
    end = node.end
    while end > node.start + 1 and doc[end - 1].is_punct:
        end -= 1
    return node._replace(end=end)


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
