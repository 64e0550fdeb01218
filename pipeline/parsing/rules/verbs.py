"""The subjects, objects, agent and particle of a verb, read off the arcs."""

from pipeline.parsing.rules.graph_builder import Words
from pipeline.parsing.rules.lemmas import verb_lemma
from pipeline.parsing.rules.nouns import Nouns
from pipeline.parsing.rules.referents import Referents
from pipeline.parsing.rules.schemes import CaptionTree
from pipeline.parsing.rules.wordlists import LOCATIVE_VERBS, PEOPLE, RELATIVE

SUBJECTS = ("nsubj", "nsubj:pass")
_CLAUSES = ("acl", "acl:relcl")
_INHERITS = ("conj", "advcl", "xcomp", "ccomp", "parataxis")
_STRANDED = ("stranded", "prt", "obl", "advmod", "case", "mark", "nmod")
_HAVE = ("has", "have", "having", "had")
_PARTICLES = ("up", "down", "out", "off", "over")
_NOT_PARTICLES = frozenset(("away", "together", "around", "along", "back", "forward", "over"))
_DEEPEST = 8  # clauses that a subject is inherited through; more is a broken tree


class Verbs:
    """Answers questions about the verbs of one caption; it adds nothing to the graph.

    Args:
        tree: the caption.
        cases: the preposition of each noun that has one.
        nouns: its objects.
        referents: what each noun stands for.
    """

    def __init__(
        self, tree: CaptionTree, cases: dict[int, Words], nouns: Nouns, referents: Referents
    ) -> None:
        self.tree, self.cases, self.nouns, self.referents = tree, cases, nouns, referents

    def is_verb(self, token: int) -> bool:
        """Whether a token says what is done, whatever the tagger made of it."""
        tree, word = self.tree, self.tree.words[token]
        match tree.pos[token]:
            case "VERB":
                return True
            case "AUX":
                return word in _HAVE and bool(tree.of_role(token, "obj"))
            case "NOUN" | "ADJ":
                is_clause = tree.roles[token] in _CLAUSES and word.endswith(("ing", "ed"))
                return is_clause and not self.nouns.is_noun(token)
        return False

    def subjects(self, verb: int, depth: int = 0) -> list[int]:
        """Objects that a verb or predicate is said of: its own subjects or those it inherits."""
        tree, nouns = self.tree, self.nouns
        own = tree.of_role(verb, *SUBJECTS) or [
            child for child in tree.of_role(verb, "compound") if nouns.graph.has(child)
        ]
        if own:
            return [referent for child in own for referent in self.referents.of(child)]
        head, role = tree.heads[verb], tree.roles[verb]
        if role in _CLAUSES:
            doer = self._doer(head) if tree.of_role(verb, "obj") else nouns.holder_of_absent(head)
            return self.referents.of(doer)
        if role not in _INHERITS or depth == _DEEPEST or head == verb:
            return []
        if role == "xcomp":
            objects = self._own_objects(head)
            if objects:
                return objects
        inherited = self.subjects(head, depth + 1)
        return inherited or (self.referents.of(head) if nouns.graph.has(head) else [])

    def objects(self, verb: int) -> list[int]:
        """Objects that a verb acts on, a shared one (`washing and drying a plate`) included."""
        tree = self.tree
        objects = self._own_objects(verb)
        for conjunct in tree.of_role(verb, "conj"):
            goes = verb_lemma(tree.words[verb], tree.lemmas[verb]) in LOCATIVE_VERBS
            shares = not goes and not tree.of_role(conjunct, *SUBJECTS)
            if not objects and shares and conjunct > verb and not tree.of_role(verb, "obl"):
                objects = self._own_objects(conjunct)
        if objects or tree.roles[verb] != "acl:relcl" or self.stranded(verb):
            return objects
        own = [child for child in tree.of_role(verb, "nsubj") if tree.words[child] not in RELATIVE]
        has_place = any(child in self.cases for child in tree.of_role(verb, "obl"))
        return self.referents.of(tree.heads[verb]) if own and not has_place else []

    def agents(self, verb: int, lemma: str) -> list[int]:
        """Objects that act in a passive: `worn by a man`, `covered in snow`."""
        tree = self.tree
        agents = tree.of_role(verb, "agent")
        if lemma in LOCATIVE_VERBS:  # parked by the road
            for agent in agents:
                tree.roles[agent] = "obl"
            return []
        if lemma in ("cover", "line") and not agents and not self.particle(verb):
            agents = [c for c in tree.of_role(verb, "obl") if self.preposition(c) in ("in", "with")]
            for agent in agents:
                tree.roles[agent] = "agent"
        return [referent for agent in agents for referent in self.referents.of(agent)]

    def preposition(self, noun: int) -> str:
        """Name of a noun's preposition; empty where it has none."""
        return self.cases[noun][2] if noun in self.cases else ""

    def particle(self, verb: int) -> Words | None:
        """The particle of a phrasal verb."""
        tree = self.tree
        for child in tree.children[verb]:
            word = tree.words[child]
            is_particle = tree.roles[child] == "prt" or (
                tree.roles[child] in ("advmod", "stranded")
                and child == verb + 1
                and word in _PARTICLES
            )
            if is_particle and word not in _NOT_PARTICLES:
                return child, child + 1, word
        return None

    def stranded(self, verb: int) -> list[int]:
        """Prepositions without a noun after a verb: `the sofa the man is sitting on`."""
        tree = self.tree
        return [
            child
            for child in tree.children[verb]
            if child > verb
            and (tree.pos[child] in ("ADP", "PART") or tree.words[child] in ("on", "in", "at"))
            and tree.roles[child] in _STRANDED
            and not tree.children[child]
        ]

    def has_inner_verb(self, verb: int) -> bool:
        """Whether a complement says what is done: `trying to throw`."""
        return any(self.is_verb(child) for child in self.tree.of_role(verb, "xcomp"))

    def is_denied(self, token: int) -> bool:
        """Whether `not` stands under a token."""
        roles = self.tree.roles
        return any(roles[child] == "neg" for child in self.tree.children[token])

    def _doer(self, noun: int) -> int:
        """The person in `woman in a dress wearing a necklace`, as a dress wears nothing."""
        tree = self.tree
        first = tree.heads[noun] if tree.roles[noun] == "conj" else noun
        above = tree.heads[first]
        is_held = tree.roles[first] == "nmod" and above < first
        return above if is_held and tree.words[above] in PEOPLE else noun

    def _own_objects(self, verb: int) -> list[int]:
        return [
            referent
            for child in self.tree.of_role(verb, "obj", "iobj")
            if child not in self.cases
            for referent in self.referents.of(child)
        ]
