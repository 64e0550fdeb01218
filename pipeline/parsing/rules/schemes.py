"""One view over the two label schemes of English parsers, so that rules are written once.

spaCy's stock English models use ClearNLP labels (`nsubjpass`, `dobj`, `prep` with `pobj`, `attr`);
treebank-trained ones use Universal Dependencies (`nsubj:pass`, `obj`, `obl` with `case`, `cop`).
The view has the shape of Universal Dependencies: content words are heads, a preposition hangs under
its noun with the role `case`, a copula under its predicate, conjuncts under the first of them.

Roles of the view: root nsubj nsubj:pass obj iobj obl nmod nmod:poss agent acl acl:relcl advcl xcomp
ccomp amod nummod compound appos det case mark aux cop neg prt expl advmod conj cc dep punct.
"""

from spacy.attrs import DEP, HEAD, LEMMA, LOWER, POS
from spacy.tokens import Doc

from pipeline.errors import DataError
from pipeline.parsing.rules.wordlists import NOUNS_IN_ING

CLEARNLP = {
    "acomp": "xcomp",
    "agent": "prep",  # its noun becomes an `agent`
    "attr": "xcomp",
    "auxpass": "aux:pass",
    "csubjpass": "nsubj:pass",
    "dative": "iobj",
    "dobj": "obj",
    "meta": "dep",
    "neg": "neg",
    "npadvmod": "advmod",
    "nsubjpass": "nsubj:pass",
    "oprd": "xcomp",
    "pcomp": "advcl",
    "pobj": "obl",
    "poss": "nmod:poss",
    "preconj": "cc",
    "predet": "det",
    "prep": "prep",
    "prt": "prt",
    "quantmod": "advmod",
    "relcl": "acl:relcl",
}
"""ClearNLP labels that Universal Dependencies does not have or uses otherwise."""

UNIVERSAL = {
    "ROOT": "root",
    "acl:relcl": "acl:relcl",
    "compound:prt": "prt",
    "csubj:pass": "nsubj:pass",
    "fixed": "fixed",
    "flat": "compound",
    "nmod:poss": "nmod:poss",
    "nsubj:pass": "nsubj:pass",
    "obl:agent": "agent",
    "obl:npmod": "advmod",
    "obl:tmod": "advmod",
    "obl:unmarked": "advmod",
    "nmod:npmod": "advmod",
    "nmod:tmod": "advmod",
    "nmod:unmarked": "advmod",
}
"""Labels of Universal Dependencies with a role of their own; other subtypes lose their ending."""

_ROLES = CLEARNLP | UNIVERSAL
_NOMINAL = frozenset(("NOUN", "PROPN", "PRON", "NUM", "X", "SYM"))
_BE = frozenset(("be", "is", "are", "was", "were", "been", "being", "am", "'s", "'re"))


class CaptionTree:
    """The words of a caption and their arcs in the shape of Universal Dependencies.

    W tokens; every list has W entries.

    Attributes:
        words: lower-cased forms.
        lemmas: lower-cased lemmas.
        pos: universal parts of speech.
        heads: index of each token's head; a root is its own head.
        roles: role of the arc from the head, of those in the module's text.
        children: dependents of each token in the order of the sentence.
    """

    __slots__ = ("children", "heads", "lemmas", "pos", "roles", "words")

    def __init__(
        self,
        words: list[str],
        lemmas: list[str],
        pos: list[str],
        heads: list[int],
        labels: list[str],
    ) -> None:
        self.words, self.lemmas, self.pos, self.heads = words, lemmas, pos, heads
        self.roles = [_ROLES.get(label) or label.partition(":")[0] for label in labels]
        self._find_children()
        self._repair_tags()
        if "prep" in self.roles:
            self._put_prepositions_under_nouns()
        self._put_copulas_under_predicates()
        if "conj" in self.roles:
            self._flatten_conjuncts()
        self._name_agents_and_negations()

    def attach(self, token: int, head: int, role: str) -> None:
        """Give a token another head."""
        self.children[self.heads[token]] = [
            child for child in self.children[self.heads[token]] if child != token
        ]
        self.heads[token], self.roles[token] = head, role
        if head != token:
            self.children[head] = sorted([*self.children[head], token])

    def of_role(self, token: int, *roles: str) -> list[int]:
        """Children of a token with one of the roles."""
        children, all_roles = self.children[token], self.roles
        return [child for child in children if all_roles[child] in roles] if children else children

    def is_below(self, token: int, other: int) -> bool:
        """Whether a token is another one or hangs under it."""
        for _ in self.words:
            if token == other:
                return True
            if self.heads[token] == token:
                return False
            token = self.heads[token]
        return False

    def _find_children(self) -> None:
        self.children = [[] for _ in self.words]
        for token, head in enumerate(self.heads):
            if head != token:
                self.children[head].append(token)

    def _repair_tags(self) -> None:
        for token, word in enumerate(self.words):
            is_before = self.roles[token] == "nmod" and token < self.heads[token]
            if is_before and not self.of_role(token, "case"):  # ClearNLP's, without preposition
                self.roles[token] = "compound"
            if (
                word in NOUNS_IN_ING
                and self.pos[token] == "VERB"
                and not self.of_role(token, "obj")
            ):
                self.pos[token] = "NOUN"
                if self.roles[self.heads[token]] == "prep":
                    self.roles[token] = "obl"

    def _put_prepositions_under_nouns(self) -> None:
        """`sit -prep-> on -pobj-> bench` becomes `sit -obl-> bench -case-> on`."""
        for prep in range(len(self.words) - 1, -1, -1):  # inner ones first: out (of (the box))
            if self.roles[prep] != "prep":
                continue
            nouns = self.of_role(prep, "obl", "nmod") or [
                child for child in self.of_role(prep, "advcl") if self.of_role(child, "compound")
            ]  # a shoe on (lady walking): read as one compound
            if not nouns:
                self.roles[prep] = "advmod" if self.of_role(prep, "advcl") else "stranded"
                continue
            head, noun = self.heads[prep], nouns[0]
            role = "nmod" if self.pos[head] in _NOMINAL else "obl"
            for child in self.children[prep][:]:
                if child != noun:
                    is_inner = self.roles[child] == "case" or child < noun
                    self.attach(child, noun if is_inner else head, self.roles[child])
            self.attach(noun, head if head != prep else noun, role if head != prep else "root")
            self.attach(prep, noun, "case")

    def _put_copulas_under_predicates(self) -> None:
        """`is -xcomp-> red` becomes `red -cop-> is`, `is -obl-> table` `table -cop-> is`."""
        for be, word in enumerate(self.words):
            if word not in _BE or self.roles[be] in ("aux", "aux:pass", "cop", "case"):
                continue
            if self.of_role(be, "expl"):  # there is a man: the subject stays what it is
                continue
            predicates = self.of_role(be, "xcomp") or [
                child for child in self.of_role(be, "obl", "stranded") if child > be
            ]
            if not predicates or not self.of_role(be, "nsubj", "nsubj:pass"):
                continue
            predicate = predicates[0]
            for child in self.children[be][:]:
                if child != predicate:
                    self.attach(child, predicate, self.roles[child])
            role, head = self.roles[be], self.heads[be]
            is_root = head == be
            self.attach(predicate, predicate if is_root else head, "root" if is_root else role)
            self.attach(be, predicate, "cop")

    def _flatten_conjuncts(self) -> None:
        """A chain of conjuncts, and its coordinators, hang under the first one."""
        for token, role in enumerate(self.roles):
            head = self.heads[token]
            while role == "conj" and self.roles[head] == "conj" and self.heads[head] != token:
                head = self.heads[head]
            if head != self.heads[token]:
                self.attach(token, head, role)

    def _name_agents_and_negations(self) -> None:
        for token, role in enumerate(self.roles):
            if role == "advmod" and self.words[token] in ("not", "n't", "never", "no"):
                self.roles[token] = "neg"
            elif role == "obl" and self._is_agent(token):
                self.roles[token] = "agent"

    def _is_agent(self, noun: int) -> bool:
        verb = self.heads[noun]
        cases = [self.words[child] for child in self.of_role(noun, "case")]
        return cases == ["by"] and self.is_passive(verb)

    def is_passive(self, verb: int) -> bool:
        """Whether a verb stands in the passive, or is a past participle without a subject."""
        roles = {self.roles[child] for child in self.children[verb]}
        if "aux:pass" in roles or "nsubj:pass" in roles:
            return True
        word = self.words[verb]
        if self.pos[verb] not in ("VERB", "ADJ") or word.endswith("ing"):
            return False
        is_reduced = self.roles[verb] in ("acl", "amod") or (
            self.roles[verb] in ("root", "conj", "advcl", "acl:relcl") and "cop" in roles
        )
        return is_reduced and (word != self.lemmas[verb] or "obj" not in roles)


def caption_tree(doc: Doc, start: int = 0, end: int | None = None) -> CaptionTree:
    """The view of a parsed caption, or of one sentence of it: the tokens from `start` to `end`.

    A token whose head lies in another sentence becomes a root.

    Raises:
        DataError: the caption has no dependency arcs, as the pipeline has no parser.
    """
    if len(doc) and not doc.has_annotation("DEP"):
        raise DataError(
            "relation triples need dependency arcs, and this pipeline set none.\n"
            "Add a component `parser` before `relation_triples`, or use a model that has one."
        )
    strings = doc.vocab.strings
    columns = doc.to_array([LOWER, LEMMA, POS, DEP, HEAD])[start:end].T
    offsets = columns[4].astype("int64").tolist()  # stored unsigned
    heads = [token + offset for token, offset in enumerate(offsets)]
    words, lemmas, pos, labels = (
        [strings[code] for code in codes] for codes in columns[:4].tolist()
    )
    return CaptionTree(
        words=words,
        lemmas=[lemma.lower() or word for lemma, word in zip(lemmas, words, strict=True)],
        pos=pos,
        heads=[head if 0 <= head < len(words) else token for token, head in enumerate(heads)],
        labels=labels,
    )
