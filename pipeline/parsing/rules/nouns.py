"""Objects of a caption: their names, attributes, numbers and possessors."""

from pipeline.parsing.doc_triples import NO_WORD
from pipeline.parsing.rules.graph_builder import GraphBuilder, Words
from pipeline.parsing.rules.lexicon import ATTRIBUTE, NAME, PHRASE, lexicon
from pipeline.parsing.rules.quantities import (
    DROPPED_QUANTITIES,
    KEPT_QUANTITIES,
    PARTITIVES,
    VAGUE,
    number_string,
)
from pipeline.parsing.rules.referents import Referents
from pipeline.parsing.rules.schemes import CaptionTree
from pipeline.parsing.rules.wordlists import (
    BODY_PARTS,
    COLOURS,
    ED_NOUNS,
    PEOPLE,
    PRONOUNS,
    SHADES,
    words,
)

_NOUN_POS = frozenset(("NOUN", "PROPN"))
_NEVER_OBJECTS = words("ADP DET CCONJ SCONJ PUNCT AUX PART SPACE INTJ PRON ADV NUM VERB")
_NOMINAL_ROLES = frozenset(("obj", "obl", "nmod", "nsubj", "nsubj:pass", "agent"))
_MODIFIERS = frozenset(("amod", "compound", "nummod", "acl", "advmod", "det"))
_COUNTING = DROPPED_QUANTITIES | KEPT_QUANTITIES.keys() | PARTITIVES
_BETWEEN = frozenset(("-", ",", "and", "/", "&"))
_HAVE = (*NO_WORD, "have")


class Nouns:
    """Names the objects of one caption and says their attributes.

    Args:
        tree: the caption.
        cases: the preposition of each noun that has one.
        skipped: tokens that belong to a preposition of several words.
        graph: gets the objects and their attributes.
        referents: says what a noun stands for, and is told which nouns count others.
    """

    def __init__(
        self,
        tree: CaptionTree,
        cases: dict[int, Words],
        skipped: set[int],
        graph: GraphBuilder,
        referents: Referents,
    ) -> None:
        self.tree, self.cases, self.skipped = tree, cases, skipped
        self.graph, self.referents = graph, referents
        self.inside: set[int] = set()
        """Tokens that are part of another object's name or attribute."""
        self._is_noun = [self._heads_phrase(token) for token in range(len(tree.words))]

    def read(self) -> None:
        """Name all objects, from the last noun to the first, with attributes and possessors."""
        nouns = [token for token, is_noun in enumerate(self._is_noun) if is_noun]
        for token, word in enumerate(self.tree.words):
            if word in _COUNTING:
                self._find_counted(token, word)
        for noun in reversed(nouns):
            if noun not in self.inside and noun not in self.referents.counted:
                self._read(noun)
        for noun, counted in self.referents.counted.items():
            self._read_quantity(noun, counted)
        for noun in nouns:
            if noun not in self.inside:
                self._read_possessor(noun)

    def is_noun(self, token: int) -> bool:
        """Whether a token heads a noun phrase, as its tag or its place in the tree says."""
        return self._is_noun[token]

    def _heads_phrase(self, token: int) -> bool:
        tree, pos = self.tree, self.tree.pos[token]
        if token in self.skipped or not tree.words[token][0].isalnum():
            return False
        if tree.words[token] in ("other", "another", "others", "eachother"):
            return False
        if pos in _NOUN_POS:
            if tree.roles[token] in ("amod", "nummod") and tree.heads[token] > token:
                return False
            return tree.roles[token] not in ("case", "advmod", "prt", "fixed")
        if pos in _NEVER_OBJECTS:
            return False
        has_article = any(tree.words[c] in ("a", "an", "the") for c in tree.of_role(token, "det"))
        return has_article or tree.roles[token] in _NOMINAL_ROLES

    def holder_of_absent(self, noun: int) -> int:
        """`a tree without leaves on a hill`: what hangs under the leaves is the tree's."""
        is_absent = self.graph.is_denied(noun) and self.tree.roles[noun] == "nmod"
        return self.tree.heads[noun] if is_absent else noun

    def _find_counted(self, noun: int, word: str) -> None:
        """`a group of men`: the group stands for the men."""
        if not self._is_noun[noun] and word not in PARTITIVES:
            return
        for child in self.tree.of_role(noun, "nmod", "obl"):
            is_of = child in self.cases and self.cases[child][2] == "of"
            if is_of and child > noun and self.is_noun(child):
                self.referents.counted[noun] = child
                return
        if word in KEPT_QUANTITIES and self.tree.of_role(noun, "compound"):  # snow patch
            self.referents.counted[noun] = self.tree.of_role(noun, "compound")[-1]

    def _read_quantity(self, noun: int, counted: int) -> None:
        word = self.tree.words[noun]
        for target in self.referents.of(counted):
            if word in KEPT_QUANTITIES:
                said = (noun, noun + 1, KEPT_QUANTITIES[word])
                self.graph.describe(target, said, "quantity")
            for child in self.tree.of_role(noun, "nummod"):
                self._describe_number(target, child)

    def _describe_number(self, target: int, token: int) -> None:
        digits = number_string(self.tree.words[token])
        if digits:
            self.graph.describe(target, (token, token + 1, digits), "number")

    def _read(self, head: int) -> None:
        """Name an object and say the attributes that stand before it."""
        tree = self.tree
        attributes: list[int] = []
        name, start = [self._head_name(head)], head
        for token in range(head - 1, -1, -1):
            if token in self.skipped:
                break
            if not self._modifies(token, head):
                if tree.words[token] in _BETWEEN or self._is_under(token, head):
                    continue
                break
            if token in self.inside:
                continue
            outcome, string = self._outcome(token, head, name[0])
            if outcome == NAME and start == self._next_word(token):
                self.inside.add(token)
                name[:1] = string.split()
                start = token
            elif outcome == ATTRIBUTE:
                attributes.append(token)
        self.graph.name(head, start, head + 1, " ".join(name))
        if self._is_denied(head):
            self.graph.deny(head)
        for token in attributes:
            if token not in self.inside:
                self.inside.add(token)
                self._describe(head, token)
        for token in self._relational_modifiers(head):
            self._relate_modifier(head, token)

    def _is_denied(self, head: int) -> bool:
        """`no leaves`, `without clouds`; but `no parking sign` is a sign."""
        tree = self.tree
        if head in self.cases and self.cases[head][2] == "without":
            return True
        return any(
            tree.words[child] == "no" and tree.words[child + 1] not in ("parking", "thru", "turn")
            for child in tree.children[head]
            if child < head
        )

    def _next_word(self, token: int) -> int:
        """The token after this one, or after the hyphen between them: `t - shirt`."""
        after = token + 1
        is_hyphen = after + 1 < len(self.tree.words) and self.tree.words[after] == "-"
        return after + 1 if is_hyphen else after

    def _head_name(self, head: int) -> str:
        return lexicon().words.get(self.tree.words[head], self.tree.words[head])

    def _modifies(self, token: int, head: int) -> bool:
        """Whether a token stands before a noun as a modifier of it or of another such modifier."""
        for _ in range(4):
            if self.tree.roles[token] not in _MODIFIERS:
                return False
            token = self.tree.heads[token]
            if token >= head:
                return token == head
        return False

    def _is_under(self, token: int, head: int) -> bool:
        above = self.tree.heads[token]
        return above != head and self.tree.heads[above] == head and above < head

    def _outcome(self, token: int, head: int, first: str) -> tuple[str, str]:
        """What a modifier is: part of the name, an attribute, or nothing (`drop`)."""
        word, role = self.tree.words[token], self.tree.roles[token]
        table = lexicon()
        if role == "det" or word in VAGUE:
            return "drop", ""
        if (word, first) in table.pairs:
            outcome, string = table.pairs[word, first]
            if outcome in (NAME, ATTRIBUTE):
                return outcome, string
            if outcome != PHRASE:
                return "drop", ""
        if self._is_owner(token, head):
            return "drop", ""
        if role == "nummod" or word in ED_NOUNS:
            return ATTRIBUTE, word
        if role == "advmod" and word not in table.modifiers:
            return "drop", ""
        outcome = table.modifiers.get(word)
        if outcome is None:
            outcome = NAME if role == "compound" and word not in COLOURS else ATTRIBUTE
        return outcome, f"{word} {first}"

    def _relational_modifiers(self, head: int) -> list[int]:
        pairs, words = lexicon().pairs, self.tree.words
        return [
            child
            for child in self.tree.children[head]
            if child < head
            and (
                pairs.get((words[child], words[head]), (NAME,))[0] not in (NAME, ATTRIBUTE, PHRASE)
                or self._is_owner(child, head)
            )
        ]

    def _is_owner(self, token: int, head: int) -> bool:
        """`bird feet`: the feet that the bird has."""
        words, table = self.tree.words, lexicon()
        is_noun = self.tree.pos[token] in _NOUN_POS and self.tree.roles[token] == "compound"
        is_known = (words[token], words[head]) in table.pairs or words[token] in table.modifiers
        return is_noun and words[head] in BODY_PARTS and not is_known

    def _relate_modifier(self, head: int, token: int) -> None:
        """`tree branches`: the tree has the branches; `tile floor`: the tile is on the floor."""
        words = self.tree.words
        pair = words[token], words[head]
        predicate, direction = lexicon().pairs.get(pair, ("have", "<"))
        self.inside.add(token)
        self.graph.name(token, token, token + 1, self._head_name(token))
        subject, object_ = (token, head) if direction == "<" else (head, token)
        self.graph.relate(subject, (*NO_WORD, predicate), object_, "compound")

    def _describe(self, head: int, token: int) -> None:
        """Say an attribute with the words that belong to it and those coordinated with it."""
        tree, word = self.tree, self.tree.words[token]
        if tree.roles[token] == "nummod":
            self._describe_number(head, token)
            return
        if word in ED_NOUNS:
            self._describe_part(head, token)
            return
        covering = self._covering(token)
        if covering is not None:
            self.inside.add(covering)
            self.graph.name(covering, covering, covering + 1, tree.words[covering])
            predicate = "cover" if word == "covered" else "line"
            self.graph.relate(covering, (token, token + 1, predicate), head, "compound")
            return
        start, string = self.attribute_string(token)
        self.graph.describe(head, (start, token + 1, string), "attribute")
        for conjunct in tree.of_role(token, "conj"):
            if conjunct < head:
                self.inside.add(conjunct)
                self._describe(head, conjunct)

    def _covering(self, token: int) -> int | None:
        if self.tree.words[token] not in ("covered", "lined"):
            return None
        before = token - 1 if self.tree.words[token - 1] != "-" else token - 2
        return before if before >= 0 and self.tree.pos[before] in _NOUN_POS else None

    def _describe_part(self, head: int, token: int) -> None:
        """`dark haired man`: the man has hair, and the hair is dark."""
        predicate, part = ED_NOUNS[self.tree.words[token]]
        self.graph.name(token, token, token + 1, part)
        if predicate == "have":
            self.graph.relate(head, _HAVE, token, "part")
        else:
            self.graph.relate(token, (*NO_WORD, predicate), head, "part")
        before = token - 1
        if before >= 0 and self.tree.words[before] == "-":
            before -= 1
        if before < 0 or self.tree.heads[before] not in (head, token):
            return
        if number_string(self.tree.words[before]):
            self._describe_number(token, before)
        elif self.tree.pos[before] in ("ADJ", "NOUN", "ADV") and predicate == "have":
            start, string = self.attribute_string(before)
            self.graph.describe(token, (start, before + 1, string), "part")

    def attribute_string(self, token: int) -> tuple[int, str]:
        """`light blue` is one attribute, and so is `light colored`."""
        words, start = self.tree.words, token
        string = lexicon().attributes.get(words[token], words[token])
        if token > 0 and lexicon().pairs.get((words[token - 1], words[token]), "")[:1] == (PHRASE,):
            self.inside.add(token - 1)
            return token - 1, f"{words[token - 1]} {words[token]}"
        if words[token] in COLOURS and token > 0 and words[token - 1] != "and":
            before = token - 2 if words[token - 1] == "-" and token > 1 else token - 1
            is_phrase = words[token] in ("colored", "colred") and words[before] in COLOURS | SHADES
            if words[before] in SHADES or is_phrase:
                start = before
                string = f"{words[before]} {string}"
                self.inside.add(before)
        return start, string

    def _read_possessor(self, noun: int) -> None:
        for owner in self.tree.of_role(noun, "nmod:poss"):
            word = self.tree.words[owner]
            if self.is_noun(owner):
                owners = self.referents.of(owner)
            elif self.tree.words[noun] in BODY_PARTS and (
                self._is_far(noun, owner) or self.tree.roles[noun] in ("nsubj", "nsubj:pass")
            ):
                owners = self._owner_of_part(noun, owner, {"his": "he"}.get(word, word))
            else:
                continue
            for subject in owners:
                for object_ in self.referents.of(noun):
                    if subject != object_:
                        self.graph.relate(subject, _HAVE, object_, "possessive")

    def _owner_of_part(self, noun: int, owner: int, word: str) -> list[int]:
        holder = self.referents.holder(noun)
        if holder is not None and (self.tree.words[holder] in PEOPLE) == (word in PRONOUNS):
            return [holder]
        return self.referents.antecedent_of_pronoun(owner, word)

    def _is_far(self, noun: int, owner: int) -> bool:
        """`luggage under his arm` says that the man has an arm, `touching his arm` does not."""
        head = self.tree.heads[noun]
        return self.is_noun(head) and self.tree.roles[noun] == "nmod" and head < owner
