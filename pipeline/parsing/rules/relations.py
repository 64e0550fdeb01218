"""Relations of a caption: verbs, prepositions, copulas and states, over the view of its arcs."""

from collections.abc import Iterable

from pipeline.parsing.doc_triples import NO_WORD
from pipeline.parsing.rules.graph_builder import GraphBuilder, Words
from pipeline.parsing.rules.lemmas import progressive, verb_lemma
from pipeline.parsing.rules.lexicon import lexicon
from pipeline.parsing.rules.nouns import Nouns
from pipeline.parsing.rules.prepositions import join_prepositions, preposition_name
from pipeline.parsing.rules.referents import Referents
from pipeline.parsing.rules.repairs import repair_tree
from pipeline.parsing.rules.schemes import CaptionTree
from pipeline.parsing.rules.verbs import Verbs
from pipeline.parsing.rules.wordlists import (
    BODY_PARTS,
    CLOTHES,
    COLOURS,
    CONTAINERS,
    LIGHT_VERBS,
    PEOPLE,
    words,
)

_STATES = words("on off up down out outside inside open outdoors in")


def read_graph(tree: CaptionTree) -> GraphBuilder:
    """Objects and triples of a caption; what it denies is in the graph too, marked so.

    First the tree is repaired, then every noun is named and described, then each other word adds
    what it says of the named objects.
    """
    repair_tree(tree)
    cases, skipped = join_prepositions(tree)
    graph = GraphBuilder()
    referents = Referents(tree, graph)
    nouns = Nouns(tree, cases, skipped, graph, referents)
    nouns.read()
    relations = _Relations(tree, cases, graph, nouns, referents)
    for token in range(len(tree.words)):
        if token not in skipped and token not in nouns.inside:
            relations.read(token)
    if referents.pointed_back:
        graph.drop_holding()
    return graph


class _Relations:
    """Adds relations and states to the graph of a caption; each kind of word has its method."""

    def __init__(
        self,
        tree: CaptionTree,
        cases: dict[int, Words],
        graph: GraphBuilder,
        nouns: Nouns,
        referents: Referents,
    ) -> None:
        self.tree, self.cases, self.graph = tree, cases, graph
        self.nouns, self.referents = nouns, referents
        self.verbs = Verbs(tree, cases, nouns, referents)

    def read(self, token: int) -> None:
        """Add what a preposition's noun, a copula's predicate, a verb or a state says."""
        role, children = self.tree.roles[token], self.tree.children[token]
        if role == "nmod" and token in self.cases:
            self._read_noun_preposition(token)
        if children and self.tree.of_role(token, "cop"):
            self._read_copula(token)
        elif self.verbs.is_verb(token):
            self._read_verb(token)
        elif role in ("advmod", "stranded", "acl", "amod") and self.tree.heads[token] < token:
            self._read_state(token)

    # ---- prepositions

    def _read_noun_preposition(self, noun: int) -> None:
        """`a dog on a bench`, `the leg of the man`."""
        head = self.tree.heads[noun]
        if self.referents.counted.get(head) == noun:
            return
        if self.cases[noun][2] == "of":
            self._read_of(noun)
            return
        targets = self.referents.of(noun)  # says whether a pronoun points back
        is_back = noun in self.referents.pointed_back and self.tree.roles[head] == "conj"
        above = self.tree.heads[head] if is_back else self.nouns.holder_of_absent(head)
        subjects = self.referents.of(above)
        if self._is_each_other(noun):
            self._relate_each_other(subjects, self.cases[noun])
        else:
            self._place(subjects, noun, targets, "preposition", denied=self.verbs.is_denied(noun))

    def _place(
        self, things: list[int], noun: int, places: list[int], rule: str, *, denied: bool
    ) -> None:
        """Things are where a noun with its preposition says."""
        start, end, name = self.cases[noun]
        rule = "pronoun" if noun in self.referents.pointed_back else rule
        for thing in things:
            for place in places:
                if thing != place:
                    said = (start, end, self._noun_predicate(name, thing, place))
                    self.graph.relate(thing, said, place, rule, negated=denied)

    def _noun_predicate(self, name: str, thing: int, place: int) -> str:
        """`a man in a shirt` wears it, `a man in a dress` is in it, as the lexicon says."""
        return self._worn(name, thing, place) or name

    def _worn(self, name: str, thing: int, place: int) -> str | None:
        if name in ("in", "with") and self.graph.string(thing) in PEOPLE:
            return lexicon().worn.get((name, self.graph.string(place)))
        return None

    def _read_of(self, noun: int) -> None:
        head = self.tree.heads[noun]
        is_full = self.tree.words[head] == "full"
        for whole in self.referents.of(head):
            for part in self.referents.of(noun):
                holder = CONTAINERS.get(self.tree.words[whole])
                if whole == part:
                    continue
                if is_full or holder == "have":
                    self.graph.relate(whole, (*NO_WORD, "have"), part, "content")
                elif holder:
                    self.graph.relate(part, (*NO_WORD, holder), whole, "content")
                else:
                    self.graph.relate(part, (*NO_WORD, "have"), whole, "possession")

    def _is_each_other(self, noun: int) -> bool:
        around = " ".join(self.tree.words[max(noun - 1, 0) : noun + 2])
        return any(phrase in around for phrase in ("each other", "one another", "eachother"))

    def _relate_each_other(self, things: list[int], predicate: Words) -> None:
        """`dog and cat next to each other`, `two giraffes next to each other`: once, one way."""
        if len(things) == 1:
            self.graph.make_singular(things[0], self.tree.lemmas[things[0]])
            self.graph.relate(things[0], predicate, things[0], "each other")
        for object_ in things[1:]:
            self.graph.relate(things[0], predicate, object_, "each other")

    # ---- copulas and states

    def _read_copula(self, token: int) -> None:
        """`is red`, `is on the table`, `is a dog`."""
        tree = self.tree
        subjects, denied = self.verbs.subjects(token), self.verbs.is_denied(token)
        if token in self.cases:
            self._read_oblique(subjects, token, "", NO_WORD, denied)
        elif tree.roles[token] == "stranded" or tree.pos[token] == "ADP":
            self._read_stranded(token, subjects, "")
        elif self.verbs.is_verb(token):
            self._read_verb(token)
            return
        elif self.nouns.is_noun(token):
            said = (token, token + 1, self.graph.string(token) if self.graph.has(token) else "")
            for subject in subjects if said[2] else ():
                self.graph.describe(subject, said, "copula", negated=denied)
        else:
            described = () if self._says_nothing_alone(token) else (token,)
            self._describe(subjects, (*described, *tree.of_role(token, "conj")), "copula", denied)
        self._read_obliques(subjects, token, "", denied, "obl")

    def _says_nothing_alone(self, adjective: int) -> bool:
        """`full of`, `about to`, `taller than` are half of what is said."""
        prepositions = {self.verbs.preposition(c) for c in self.tree.children[adjective]}
        word = self.tree.words[adjective]
        return (
            word == "about" or "than" in prepositions or (word == "full" and "of" in prepositions)
        )

    def _describe(
        self, subjects: Iterable[int], tokens: Iterable[int], rule: str, denied: bool
    ) -> None:
        for token in tokens:
            start, string = self.nouns.attribute_string(token)
            for subject in subjects:
                said = (start, token + 1, string)
                self.graph.describe(subject, said, rule, negated=denied)

    def _read_state(self, token: int) -> None:
        """`a man outside`, `a man with glasses on`, `a sky full of clouds`."""
        tree, head = self.tree, self.tree.heads[token]
        denied = self.verbs.is_denied(token)
        if tree.words[token] in _STATES and self.graph.has(head):
            if tree.roles[token] != "stranded":
                self._describe([head], [token], "state", denied)
        elif tree.pos[token] == "ADJ" and tree.roles[token] in ("acl", "amod"):
            subjects = self.referents.of(head)
            if not self._says_nothing_alone(token):
                self._describe(subjects, [token], "state", denied)
            self._read_obliques(subjects, token, "", denied)

    # ---- verbs

    def _read_verb(self, verb: int) -> None:
        tree = self.tree
        lemma = verb_lemma(tree.words[verb], tree.lemmas[verb])
        if tree.of_role(verb, "xcomp") and lemma in LIGHT_VERBS and not tree.of_role(verb, "obj"):
            return
        denied = self.verbs.is_denied(verb)
        if tree.of_role(verb, "expl") or lemma in ("be", "there"):
            self._read_existence(verb, denied)
            return
        subjects, objects = self.verbs.subjects(verb), self.verbs.objects(verb)
        agents = self.verbs.agents(verb, lemma) if tree.is_passive(verb) else []
        if agents:
            subjects, objects = agents, subjects
        particle = self.verbs.particle(verb)
        if lemma == "have" and particle and objects:
            self._read_held(subjects, objects, particle, denied)
            return
        self._read_resulting_state(verb, lemma, objects or subjects, denied)
        if objects or any(self._is_each_other(child) for child in tree.of_role(verb, "obj")):
            self._read_action(verb, _phrasal(verb, lemma, particle), subjects, objects, denied)
            return
        self._read_obliques(subjects, verb, lemma, denied)
        if tree.roles[verb] == "acl:relcl":
            for token in self.verbs.stranded(verb)[:1]:
                self._read_stranded(token, subjects, lemma)
        is_said = any(
            triple.predicate.start == verb and triple.rule != "state"
            for triple in self.graph.triples
        )
        if not is_said and lemma != "have" and not self.verbs.has_inner_verb(verb):
            said = _phrasal(verb, progressive(tree.words[verb], lemma), particle)
            for subject in subjects:
                self.graph.describe(subject, said, "verb", negated=denied)

    def _read_action(
        self, verb: int, said: Words, subjects: list[int], objects: list[int], denied: bool
    ) -> None:
        """`a man riding a horse`, and where."""
        if any(self._is_each_other(child) for child in self.tree.of_role(verb, "obj")):
            self._relate_each_other(subjects, said)
            return
        for subject in subjects:
            for object_ in objects:
                if subject != object_:
                    self.graph.relate(subject, said, object_, "verb", negated=denied)
        self._read_loose_obliques(verb, subjects, objects, denied)

    def _read_resulting_state(self, verb: int, lemma: str, things: list[int], denied: bool) -> None:
        """`painted red`, `holds it open`."""
        tree = self.tree
        if lemma in LIGHT_VERBS:
            return
        states = [
            child
            for child in tree.of_role(verb, "xcomp", "advmod")
            if tree.words[child] in COLOURS
            or (tree.pos[child] == "ADJ" and tree.roles[child] == "xcomp")
        ]
        self._describe(things, states, "state", denied)

    def _read_held(self, owners: list[int], held: list[int], particle: Words, denied: bool) -> None:
        """`has a hat on` is worn, `has his arm up` says where the arm is."""
        for owner in owners:
            for thing in held:
                is_worn = particle[2] == "on" and self.graph.string(thing) in CLOTHES
                said = (*NO_WORD, "wear" if is_worn else "have")
                self.graph.relate(owner, said, thing, "verb", negated=denied)
                if not is_worn:
                    self.graph.describe(thing, particle, "state", negated=denied)

    def _read_existence(self, verb: int, denied: bool) -> None:
        """`there is a clock on the wall`: the preposition may hang under the verb."""
        subjects = [
            referent
            for child in self.tree.of_role(verb, "nsubj", "xcomp", "obj")
            for referent in self.referents.of(child)
        ]
        self._read_obliques(subjects, verb, "", denied)

    def _read_obliques(
        self, subjects: list[int], verb: int, lemma: str, denied: bool, *roles: str
    ) -> None:
        for child in self.tree.of_role(verb, *(roles or ("obl", "nmod"))):
            if child in self.cases:
                self._read_oblique(subjects, child, lemma, (verb, verb + 1), denied)

    def _read_oblique(
        self, subjects: list[int], noun: int, lemma: str, verb: tuple[int, int], denied: bool
    ) -> None:
        """`sitting on a bench`: verb and preposition are one predicate; a copula's says nothing."""
        start, end, name = self.cases[noun]
        span = (verb[0], max(verb[1], end)) if lemma else (start, end)
        if self._is_each_other(noun):
            self._relate_each_other(subjects, (*span, f"{lemma} {name}".strip()))
            return
        targets = self.referents.of(noun)
        above = self.tree.words[self.tree.heads[noun]]
        if (above, name) == ("full", "of"):
            name, lemma, span = "have", "", (start - 1, end)
        elif name == "than" and not lemma:
            name, span = f"{above} than", (start - 1, end)
        elif (lemma, name) == ("dress", "in"):
            name, lemma = "wear", ""
        rule = "pronoun" if noun in self.referents.pointed_back else "oblique"
        for subject in subjects:
            for target in targets:
                if subject != target:
                    worn = self._worn(name, subject, target)  # walking in a suit
                    string = worn or f"{lemma} {name}".strip()
                    said = (start, end, string) if worn else (*span, string)
                    self.graph.relate(subject, said, target, rule, negated=denied)

    def _read_loose_obliques(
        self, verb: int, subjects: list[int], objects: list[int], denied: bool
    ) -> None:
        """`holding a bat in his hand`: the bat is there; `flying a kite on a beach`: the flyer."""
        for child in self.tree.of_role(verb, "obl"):
            if child not in self.cases:
                continue
            targets = self.referents.of(child)
            is_part = self.tree.words[child] in BODY_PARTS
            in_hand = is_part and self.verbs.preposition(child) != "with"
            is_object = in_hand or not set(targets).isdisjoint(subjects)
            self._read_oblique(objects if is_object else subjects, child, "", NO_WORD, denied)

    def _read_stranded(self, token: int, subjects: list[int], lemma: str) -> None:
        """A preposition whose noun stands before its clause: `the table the food is on`."""
        tree, clause = self.tree, token
        while not tree.roles[clause].startswith("acl"):
            if tree.heads[clause] == clause:
                self._describe(subjects, [token], "state", self.verbs.is_denied(token))
                return
            clause = tree.heads[clause]
        string = f"{lemma} {preposition_name(tree.words[token])}".strip()
        start = tree.heads[token] if lemma else token
        for subject in subjects:
            for target in self.referents.of(tree.heads[clause]):
                if subject != target:
                    self.graph.relate(subject, (start, token + 1, string), target, "relative")


def _phrasal(verb: int, string: str, particle: Words | None) -> Words:
    """A verb with its particle, which may stand away from it."""
    if particle is None:
        return verb, verb + 1, string
    end = particle[1] if particle[0] == verb + 1 else verb + 1
    return verb, end, f"{string} {particle[2]}"
