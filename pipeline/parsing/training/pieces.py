"""Phrases with the part of a graph that they say: what `composed` puts together to captions."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.parsing.scene_graph.normal_forms import singular
from pipeline.parsing.training.examples import Example

PHRASES = Path(__file__).with_name("phrases.txt")

SUBJECT, _NEXT = -1, -2
"""Nodes that stand for the subject of a verb phrase, and for the object that comes next."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


DETERMINERS = _words("a an the some several")
_FINITE = _words(
    """is are was were am has have had do does there this that these those it he she they i photo
    picture image not no without who which what while as it's"""
)
_UNSAID = _words("have wear on in")
"""Predicates that need no word: `leg of a man` is `(man, have, leg)`."""

_PREPOSITIONS = _words(
    """in on at under behind near beside above below inside outside next across over through"""
)
_PEOPLE = _words(
    """man woman boy girl person people men women boys girls child children kid kids guy lady player
    skier surfer snowboarder skateboarder rider baby toddler players skiers"""
)
_PLURAL = _words("people feet teeth geese mice")


@dataclass(frozen=True)
class Piece:
    """Words and the part of a graph that they say.

    Attributes:
        words: in lower case.
        nodes: start, end, is_attribute.
        relations: subject node, predicate, object node; `SUBJECT` stands for the verb's subject.
        attributes: object node, attribute node; `SUBJECT` as above.
        root: the node that the piece is about, where it is a noun phrase.
    """

    words: tuple[str, ...]
    nodes: tuple[tuple[int, int, bool], ...] = ()
    relations: tuple[tuple[int, str, int], ...] = ()
    attributes: tuple[tuple[int, int], ...] = ()
    root: int = 0

    @property
    def noun(self) -> str:
        """The root's words."""
        start, end, _ = self.nodes[self.root]
        return " ".join(self.words[start:end])

    @property
    def is_plural(self) -> bool:
        """Whether the root names several things."""
        last = self.noun.split()[-1]
        return last in _PLURAL or last.endswith(("men", "children")) or singular(last) != last

    @property
    def is_person(self) -> bool:
        """Whether the root is a person, or several."""
        return self.noun.split()[-1] in _PEOPLE


class Sentence:
    """Puts pieces one after the other; nodes are counted over the whole."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.nodes: list[tuple[int, int, bool]] = []
        self.relations: list[tuple[int, str, int]] = []
        self.attributes: list[tuple[int, int]] = []

    def say(self, words: str) -> "Sentence":
        """Words that name nothing."""
        self.words += words.split()
        return self

    def add(self, piece: Piece, subjects: Sequence[int] = ()) -> int:
        """A piece, said of the subjects; returns its root's node."""
        start, first = len(self.words), len(self.nodes)
        self.words += piece.words
        self.nodes += [(a + start, b + start, kind) for a, b, kind in piece.nodes]

        def ends(node: int) -> Sequence[int]:
            return subjects if node == SUBJECT else (node + first,)

        self.relations += [
            (s, p, o) for subject, p, object_ in piece.relations
            for s in ends(subject) for o in ends(object_)
        ]  # fmt: skip
        self.attributes += [
            (s, a + first) for subject, a in piece.attributes for s in ends(subject)
        ]
        return piece.root + first


@dataclass(frozen=True)
class Parts:
    """What captions are composed of.

    Attributes:
        nouns: noun phrases without a verb, such as `a man in a red shirt`.
        people: those about people.
        actions: verb phrases that begin with a participle, and whether people do them.
        places: a preposition with its noun phrase.
    """

    nouns: list[Piece]
    people: list[Piece]
    actions: list[Piece]
    other_actions: list[tuple[Piece, Piece]]
    places: list[Piece]


def parts_of(examples: Sequence[Example], lemma: Callable[[str], str]) -> Parts:
    """The phrases of annotated captions."""
    parts = Parts([], [], [], [], [])
    for example in examples:
        phrase = _noun_phrase(example, lemma)
        if phrase is None:
            continue
        noun, rest = _split(phrase, phrase.nodes[phrase.root][1])
        if not rest.words:
            if len(noun.words) <= 4:
                (parts.people if phrase.is_person else parts.nouns).append(noun)
        elif _begins_with_action(rest, lemma):
            if phrase.is_person:
                parts.actions.append(rest)
            else:
                parts.other_actions.append((noun, rest))
        elif rest.words[0] in _PREPOSITIONS and len(rest.relations) == 1:
            if rest.relations[0][0] == SUBJECT and len(rest.words) <= 8:
                parts.places.append(rest)
                parts.nouns.append(phrase)
        elif len(phrase.words) <= 8:
            (parts.people if phrase.is_person else parts.nouns).append(phrase)
    return parts


def _noun_phrase(example: Example, lemma: Callable[[str], str]) -> Piece | None:
    """The caption as a noun phrase about its first object, if it is one."""
    words = tuple(word.lower() for word in example.words)
    while words and not words[-1].isalnum():
        words = words[:-1]
    objects = [i for i, node in enumerate(example.nodes) if not node[2]]
    if not (objects and example.is_complete and 1 < len(words) <= 12):
        return None
    if _FINITE.intersection(words) or any(node[1] > len(words) for node in example.nodes):
        return None
    root = objects[0]
    described = {i for i, node in enumerate(example.nodes[:root]) if node[2]}
    if not described <= {a for s, a in example.attributes if s == root}:
        return None
    covered = {i for node in example.nodes[:root] for i in range(node[0], node[1])}
    before = [w for i, w in enumerate(words[: example.nodes[root][0]]) if i not in covered]
    if any(w not in DETERMINERS and w not in ("and", ",") for w in before):
        return None
    if any(o == root or s == o for s, _, o in example.relations):
        return None
    said = _UNSAID.union(words, map(lemma, words))
    if any(predicate.split()[0] not in said for _, predicate, _ in example.relations):
        return None
    return Piece(
        words,
        tuple((a, b, bool(kind)) for a, b, kind in example.nodes),
        tuple((s, p, o) for s, p, o in example.relations),
        tuple((s, a) for s, a in example.attributes),
        root,
    )


def _split(phrase: Piece, at: int) -> tuple[Piece, Piece]:
    """The noun with what stands before it, and the rest, of which the noun is the subject."""
    head = [i for i, node in enumerate(phrase.nodes) if node[1] <= at]
    tail = [i for i, node in enumerate(phrase.nodes) if node[0] >= at]
    place = {node: i for i, node in enumerate(tail)} | {phrase.root: SUBJECT}
    noun = Piece(
        phrase.words[:at],
        tuple(phrase.nodes[i] for i in head),
        (),
        tuple((s, a) for s, a in phrase.attributes if a in head),
        phrase.root,
    )
    rest = Piece(
        phrase.words[at:],
        tuple((a - at, b - at, kind) for a, b, kind in (phrase.nodes[i] for i in tail)),
        tuple((place[s], p, place[o]) for s, p, o in phrase.relations),
        tuple((place[s], place[a]) for s, a in phrase.attributes if a in tail),
    )
    return noun, rest


def _begins_with_action(rest: Piece, lemma: Callable[[str], str]) -> bool:
    """Whether the rest of a phrase begins with the participle of what its subject does."""
    word = rest.words[0]
    if not word.endswith("ing") or len(word) < 5:
        return False
    verbs = {p.split()[0] for s, p, _ in rest.relations if s == SUBJECT}
    does = {rest.words[rest.nodes[a][0]] for s, a in rest.attributes if s == SUBJECT}
    return lemma(word) in verbs or word in does


def written_pieces() -> dict[str, list[Piece]]:
    """The pieces of `phrases.txt` by their kind: `people`, `actions`, `places` and `worn`.

    Phrases that captions of photographs use and FACTUAL's captions of regions lack, one per line.
    Objects stand in [], attributes in {}; `<p>` is the predicate that ties the subject to the next
    object, and `<of>` says that the next object has the last one.
    """
    pieces: dict[str, list[Piece]] = {}
    of_kind: list[Piece] = []
    for line in PHRASES.read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            of_kind = pieces[line[2:]] = []
        else:
            of_kind.append(_piece(line))
    return pieces


def _piece(text: str) -> Piece:
    """The piece that a line of `phrases.txt` writes.

    An attribute describes the next object, or the subject if no object follows.
    """
    words: list[str] = []
    nodes: list[tuple[int, int, bool]] = []
    relations: list[tuple[int, str, int]] = []
    attributes: list[tuple[int, int]] = []
    waiting: list[int] = []
    part, last = None, None
    for mark in _marks(text):
        kind, said = mark[0], mark[1:]
        if kind == "<" and said == "of":
            words.append("of")
            part = last
        elif kind == "<":
            relations.append((SUBJECT, said, _NEXT))
        elif kind in "[{":
            start = len(words)
            words += said.split()
            nodes.append((start, len(words), kind == "{"))
            if kind == "{":
                waiting.append(len(nodes) - 1)
            else:
                attributes += [(len(nodes) - 1, a) for a in waiting]
                waiting = []
                last = len(nodes) - 1
                relations = [(s, p, last if o == _NEXT else o) for s, p, o in relations]
                if part is not None:
                    relations.append((last, "have", part))
                    part = None
        else:
            words += said.split()
    attributes += [(SUBJECT, a) for a in waiting]
    objects = [i for i, node in enumerate(nodes) if not node[2]]
    return Piece(
        tuple(words),
        tuple(nodes),
        tuple(relations),
        tuple(attributes),
        objects[0] if objects else 0,
    )


def _marks(text: str) -> Iterator[str]:
    closing = {"[": "]", "{": "}", "<": ">"}
    while text:
        if text[0] in closing:
            end = text.index(closing[text[0]])
            yield text[:end]
            text = text[end + 1 :].lstrip()
        else:
            end = min([text.index(c) for c in closing if c in text], default=len(text))
            yield " " + text[:end]
            text = text[end:]


def preceded(piece: Piece, word: str) -> Piece:
    """The piece with a word before it that names nothing."""
    return replace(
        piece,
        words=(*word.split(), *piece.words),
        nodes=tuple((a + 1, b + 1, kind) for a, b, kind in piece.nodes),
    )


def numbered(piece: Piece, numeral: str) -> Piece:
    """The piece with a numeral, an attribute, before it."""
    shifted = preceded(piece, numeral)
    return Piece(
        shifted.words,
        ((0, 1, True), *shifted.nodes),
        tuple((s + 1, p, o + 1) for s, p, o in piece.relations),
        ((piece.root + 1, 0), *((s + 1, a + 1) for s, a in piece.attributes)),
        piece.root + 1,
    )


def bare_words(piece: Piece) -> tuple[str, ...]:
    """The words without a determiner."""
    return piece.words[1:] if piece.words[0] in DETERMINERS else piece.words


def only_object(action: Piece) -> Piece | None:
    """The noun phrase of a verb phrase that is nothing else."""
    words = action.words[1:]
    if not words or any(node[0] == 0 for node in action.nodes):
        return None
    if any(s == SUBJECT for s, _ in action.attributes) or action.nodes[-1][1] != len(action.words):
        return None
    if sum(not node[2] for node in action.nodes) != 1:
        return None
    nodes = tuple((a - 1, b - 1, kind) for a, b, kind in action.nodes)
    covered = {i for a, b, _ in nodes for i in range(a, b)}
    if any(w not in DETERMINERS for i, w in enumerate(words) if i not in covered):
        return None
    return Piece(words, nodes, (), action.attributes, action.relations[0][2])
