"""Resolve nouns and pronouns to objects: themselves, conjuncts, what they count, antecedents."""

from pipeline.parsing.rules.graph_builder import GraphBuilder
from pipeline.parsing.rules.schemes import CaptionTree
from pipeline.parsing.rules.wordlists import PEOPLE, PRONOUNS, RELATIVE


class Referents:
    """Resolves the tokens of one caption to objects of its graph.

    Args:
        tree: the caption.
        graph: has the objects; a pronoun without antecedent is named in it.

    Attributes:
        counted: nouns of quantity to the noun that they count (`a group of men`).
        pointed_back: pronouns that mean what their phrase belongs to (`a plate with food on it`).
    """

    def __init__(self, tree: CaptionTree, graph: GraphBuilder) -> None:
        self.tree, self.graph = tree, graph
        self.counted: dict[int, int] = {}
        self.pointed_back: set[int] = set()

    def of(self, token: int) -> list[int]:
        """The objects that a token stands for: itself and its conjuncts, or an antecedent."""
        found: list[int] = []
        for conjunct in (token, *self.tree.of_role(token, "conj")):
            for referent in self._of_one(conjunct):
                if referent not in found:
                    found.append(referent)
        return found

    def _of_one(self, token: int) -> list[int]:
        counted = self.counted.get(token)
        if counted is not None:
            return self.of(counted)
        if self.graph.has(token):
            return [token]
        word = self.tree.words[token]
        if word in RELATIVE:
            return self._antecedent_of_relative(token)
        if self.tree.pos[token] == "PRON" or word in PRONOUNS:
            return self.antecedent_of_pronoun(token, word)
        return []

    def _antecedent_of_relative(self, token: int) -> list[int]:
        clause = token
        for _ in self.tree.words:
            if self.tree.roles[clause].startswith("acl"):
                return self.of(self.tree.heads[clause])
            if self.tree.heads[clause] == clause:
                break
            clause = self.tree.heads[clause]
        return []

    def antecedent_of_pronoun(self, token: int, word: str) -> list[int]:
        """The object before a pronoun that it means; a person that nothing named is a new one."""
        is_person = word in PRONOUNS
        holder = self.holder(token)
        if holder is not None and (self.tree.words[holder] in PEOPLE) == is_person:
            self.pointed_back.add(token)
            return [holder]
        for earlier in range(token - 1, -1, -1):
            if not self.graph.has(earlier):
                continue
            name = self.tree.words[earlier]
            if word in ("they", "them", "it", "its") or (name in PEOPLE) == is_person:
                return [earlier]
        if not is_person:
            return []
        self.graph.name(token, token, token + 1, PRONOUNS[word])
        return [token]

    def holder(self, token: int) -> int | None:
        """What `it` is in `a plate with food on it`: the second noun above the pronoun."""
        tree = self.tree
        if tree.roles[token] not in ("nmod", "obl"):
            return None
        above: list[int] = []
        here = token
        for _ in tree.words:
            head = tree.heads[here]
            if head == here:
                break
            if tree.roles[here] == "conj" and above:
                pass  # the things of `with plates and food on it` are one link of the chain
            elif self.graph.has(head):
                above.append(head)
            else:
                is_first = not above
                above += [o for o in tree.of_role(head, "obj") if is_first and self.graph.has(o)]
                above += [s for s in tree.of_role(head, "nsubj", "nsubj:pass") if self.graph.has(s)]
            if len(above) > 1:
                return above[1]
            here = head
        return None
