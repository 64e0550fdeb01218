"""Relations of a caption: verbs, prepositions, copulas and their frames, over the view of its arcs."""

from pipeline.parsing.lemmas import verb_lemma
from pipeline.parsing.lexicon import lexicon
from pipeline.parsing.mending import mend
from pipeline.parsing.nouns import Nouns
from pipeline.parsing.prepositions import find_prepositions, preposition_name
from pipeline.parsing.relations import NO_WORD
from pipeline.parsing.scene import Scene, Words
from pipeline.parsing.schemes import CaptionTree
from pipeline.parsing.wordlists import (
    BODY_PARTS,
    CLOTHES,
    COLOURS,
    CONTAINERS,
    LIGHT_VERBS,
    LOCATIVE_VERBS,
    PEOPLE,
    RELATIVE,
)

_SUBJECTS = ("nsubj", "nsubj:pass")
_CLAUSES = ("acl", "acl:relcl")
_INHERITS = ("conj", "advcl", "xcomp", "ccomp", "parataxis")
_STATES = frozenset(
    ("on", "off", "up", "down", "out", "outside", "inside", "open", "outdoors", "in")
)
_STAY_VERBS = frozenset(
    ("sit", "stand", "walk", "lay", "park", "hang", "run", "sleep", "play", "ski")
)
_NOT_PARTICLES = frozenset(("away", "together", "around", "along", "back", "forward", "over"))


def read_scene(tree: CaptionTree) -> Scene:
    """Objects and triples of a caption; triples that it denies are in it, marked so."""
    mend(tree)
    return _Clauses(tree).scene


class _Clauses:
    """One pass over the tokens; each kind of word has its method."""

    def __init__(self, tree: CaptionTree) -> None:
        self.tree = tree
        self.cases: dict[int, Words] = {}
        skipped = self._join_prepositions()
        self.nouns = Nouns(tree, self.cases, skipped)
        self.scene = self.nouns.scene
        for token, role in enumerate(tree.roles):
            if token in skipped or token in self.nouns.inside:
                continue
            if role == "nmod" and token in self.cases:
                self._read_noun_preposition(token)
            if tree.of_role(token, "cop"):
                self._read_copula(token)
            elif self._is_verb(token):
                self._read_verb(token)
            elif role in ("advmod", "stranded", "acl", "amod") and self.tree.heads[token] < token:
                self._read_state(token)
        if self.nouns.pointed_back:
            self.scene.drop_holding()

    # ---- prepositions

    def _join_prepositions(self) -> set[int]:
        """Name the preposition of every noun; join those of several words and mend the arcs."""
        tree, skipped = self.tree, set[int]()
        for start, end, name in find_prepositions(tree):
            noun = self._noun_after(start, end)
            if noun is None:
                continue
            skipped.update(range(start, end))
            head = self._head_outside(noun, start, end)
            self.cases[noun] = (start, end, name)
            if head is None:
                for child in [*tree.children[start], *tree.children[end - 1]]:
                    if child != noun and not start <= child < end and child < start:
                        head = child
            role = "nmod"
            if head is not None and tree.pos[head] in ("VERB", "ADJ", "AUX"):
                role = "obl"
            tree.attach(noun, noun if head is None else head, "root" if head is None else role)
            for inner in range(start, end):  # what hung under `side` hangs under the noun
                for child in tree.children[inner][:]:
                    if child != noun and not start <= child < end:
                        tree.attach(child, noun, tree.roles[child])
        for token, role in enumerate(tree.roles):
            head = tree.heads[token]
            if role == "case" and token not in skipped and head not in self.cases and head > token:
                self.cases[head] = self._case(head)
        return skipped

    def _noun_after(self, start: int, end: int) -> int | None:
        tree = self.tree
        for inner in range(end - 1, start - 1, -1):
            if tree.roles[inner] == "case" and tree.heads[inner] >= end:
                return tree.heads[inner]
        for token in range(end, min(end + 5, len(tree.words))):
            if tree.pos[token] in ("NOUN", "PROPN", "PRON"):
                while tree.heads[token] > token and tree.pos[tree.heads[token]] in (
                    "NOUN",
                    "PROPN",
                ):
                    token = tree.heads[token]
                return token
        return None

    def _head_outside(self, noun: int, start: int, end: int) -> int | None:
        """The first word above a joined preposition that is not part of it."""
        tree = self.tree
        for token in (noun, *range(start, end)):
            for _ in range(len(tree.words)):
                above = tree.heads[token]
                if above == token:
                    break
                if above != noun and not start <= above < end:
                    return above if not self._is_below(above, noun) else None
                token = above
        return None

    def _is_below(self, token: int, noun: int) -> bool:
        for _ in range(len(self.tree.words)):
            if token == noun:
                return True
            if self.tree.heads[token] == token:
                return False
            token = self.tree.heads[token]
        return False

    def _case(self, noun: int) -> Words:
        cases = [c for c in self.tree.of_role(noun, "case") if c < noun]
        words = [self.tree.words[case] for case in cases]
        return cases[0], cases[-1] + 1, preposition_name(" ".join(words))

    def _read_noun_preposition(self, noun: int) -> None:
        """`a dog on a bench`, `the leg of the man`."""
        head = self.tree.heads[noun]
        if self.nouns.counted.get(head) == noun:
            return
        start, end, name = self.cases[noun]
        targets = self.nouns.referents(noun)
        for subject in self.nouns.referents(head):
            for target in targets:
                if subject == target:
                    continue
                if name == "of" and self.tree.words[head] == "full":
                    self.scene.relate(subject, (head, end, "have"), target, "content")
                elif name == "of":
                    self._read_of(subject, target, (start, end))
                else:
                    said = (start, end, self._noun_predicate(name, subject, target))
                    rule = "pronoun" if noun in self.nouns.pointed_back else "preposition"
                    self.scene.relate(subject, said, target, rule, negated=self._denied(noun))

    def _noun_predicate(self, name: str, subject: int, target: int) -> str:
        if name in ("in", "with") and self.scene.string(subject) in PEOPLE:
            return lexicon().worn.get((name, self.scene.string(target)), name)
        return name

    def _read_of(self, whole: int, part: int, span: tuple[int, int]) -> None:
        holder = CONTAINERS.get(self.tree.words[whole])
        if holder:
            self.scene.relate(part, (*NO_WORD, holder), whole, "content")
        else:
            self.scene.relate(part, (*NO_WORD, "have"), whole, "possession")

    # ---- copulas and states

    def _read_copula(self, token: int) -> None:
        """`is red`, `is on the table`, `is a dog`."""
        tree = self.tree
        subjects = self._subjects(token)
        denied = self._denied(token)
        if token in self.cases:
            self._read_oblique(subjects, token, "", (-1, -1), denied)
        elif tree.roles[token] == "stranded" or tree.pos[token] == "ADP":
            self._read_stranded(token, subjects, "")
        elif self._is_verb(token):
            self._read_verb(token)
        elif self.nouns.is_noun(token):
            for subject in subjects:
                if tree.words[subject] not in ("this", "that", "it", "these", "there"):
                    said = (token, token + 1, self.scene.string(token))
                    self.scene.describe(subject, said, "copula", negated=denied)
        else:
            is_full = tree.words[token] == "full" and tree.of_role(token, "obl", "nmod")
            described = () if tree.words[token] == "about" or is_full else (token,)
            for word in (*described, *tree.of_role(token, "conj")):
                for subject in subjects:
                    self._describe(subject, word, "copula", denied)
        if not self._is_verb(token):
            self._read_obliques(subjects, token, "", denied, "obl")

    def _describe(self, subject: int, token: int, rule: str, denied: bool) -> None:
        start, string = self.nouns._with_shades(token)
        self.scene.describe(subject, (start, token + 1, string), rule, negated=denied)

    def _read_state(self, token: int) -> None:
        """`a man outside`, `a man with glasses on`, `the dishes stacked`."""
        head = self.tree.heads[token]
        if self.tree.words[token] in _STATES and self.scene.has(head):
            if self.tree.roles[token] != "stranded":
                self._describe(head, token, "state", self._denied(token))
        elif self.tree.pos[token] == "ADJ" and self.tree.roles[token] in ("acl", "amod"):
            for subject in self.nouns.referents(head):
                if self.tree.words[token] != "full":
                    self._describe(subject, token, "state", self._denied(token))
                self._read_obliques([subject], token, "", self._denied(token))

    # ---- verbs

    def _is_verb(self, token: int) -> bool:
        tree = self.tree
        if tree.pos[token] == "VERB":
            return not self.nouns.is_noun(token)
        if tree.pos[token] in ("AUX", "NOUN", "ADJ"):
            word = tree.words[token]
            if tree.pos[token] == "AUX":
                return word in ("has", "have", "having", "had") and bool(tree.of_role(token, "obj"))
            is_clause = tree.roles[token] in _CLAUSES and word.endswith(("ing", "ed"))
            return is_clause and not self.nouns.is_noun(token)
        return False

    def _read_verb(self, verb: int) -> None:
        tree = self.tree
        word = tree.words[verb]
        lemma = verb_lemma(word, tree.lemmas[verb])
        if tree.of_role(verb, "xcomp") and lemma in LIGHT_VERBS and not tree.of_role(verb, "obj"):
            return
        if tree.of_role(verb, "expl") or lemma in ("be", "there"):
            self._read_existence(verb)
            return
        denied = self._denied(verb)
        subjects, objects = self._subjects(verb), self._objects(verb)
        is_passive = tree.is_passive(verb)
        agents = self._agents(verb, lemma) if is_passive else []
        if agents:
            subjects, objects = agents, subjects
        particle = self._particle(verb)
        string = f"{lemma} {particle[2]}" if particle else lemma
        end = particle[1] if particle and particle[0] == verb + 1 else verb + 1
        count = len(self.scene.triples)
        if lemma == "have" and particle and objects:
            self._read_held(subjects, objects, particle, denied)
            return
        for subject in subjects:
            for object_ in objects:
                if subject != object_:
                    self.scene.relate(subject, (verb, end, string), object_, "verb", negated=denied)
        for child in tree.of_role(verb, "xcomp", "advmod"):
            is_state = tree.pos[child] == "ADJ" and tree.roles[child] == "xcomp"
            if (is_state or tree.words[child] in COLOURS) and lemma not in LIGHT_VERBS:
                for described in objects or subjects:  # painted red, holds it open
                    self._describe(described, child, "state", denied)
        if objects:
            self._read_loose_obliques(verb, subjects, objects, denied)
        else:
            self._read_obliques(subjects, verb, lemma, denied)
            self._read_gap(verb, subjects, string)
        is_state = not objects and lemma != "have" and not self._has_inner(verb)
        if len(self.scene.triples) == count and is_state:
            for subject in subjects:
                state = f"{word} {particle[2]}" if particle else word
                self.scene.describe(subject, (verb, end, state), "verb", negated=denied)

    def _read_held(self, owners: list[int], held: list[int], particle: Words, denied: bool) -> None:
        """`has a hat on` is worn, `has his arm up` says where the arm is."""
        for owner in owners:
            for thing in held:
                is_worn = particle[2] == "on" and self.scene.string(thing) in CLOTHES
                said = (*NO_WORD, "wear" if is_worn else "have")
                self.scene.relate(owner, said, thing, "verb", negated=denied)
                if not is_worn:
                    self.scene.describe(thing, particle, "state", negated=denied)

    def _read_existence(self, verb: int) -> None:
        """`there is a clock on the wall`: the preposition may hang under the verb."""
        tree = self.tree
        subjects = [
            referent
            for child in tree.of_role(verb, "nsubj", "xcomp", "obj")
            for referent in self.nouns.referents(child)
        ]
        self._read_obliques(subjects, verb, "", self._denied(verb))

    def _has_inner(self, verb: int) -> bool:
        return any(self._is_verb(child) for child in self.tree.of_role(verb, "xcomp"))

    def _subjects(self, verb: int, depth: int = 0) -> list[int]:
        tree = self.tree
        own = tree.of_role(verb, *_SUBJECTS) or [
            child for child in tree.of_role(verb, "compound") if self.scene.has(child)
        ]
        if own:
            return [referent for child in own for referent in self.nouns.referents(child)]
        head, role = tree.heads[verb], tree.roles[verb]
        if role in _CLAUSES:
            return self.nouns.referents(self._doer(head) if tree.of_role(verb, "obj") else head)
        if role in _INHERITS and depth < 8 and head != verb:
            if role == "xcomp":
                objects = self._own_objects(head)
                if objects:
                    return objects
            inherited = self._subjects(head, depth + 1)
            return inherited or (self.nouns.referents(head) if self.scene.has(head) else [])
        return []

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
            for referent in self.nouns.referents(child)
        ]

    def _objects(self, verb: int) -> list[int]:
        objects = self._own_objects(verb)
        tree = self.tree
        for conjunct in tree.of_role(verb, "conj"):  # washing and drying a plate
            if not objects and not tree.of_role(verb, "obl") and conjunct > verb:
                objects = self._own_objects(conjunct)
        if objects or tree.roles[verb] != "acl:relcl" or self._stranded(verb):
            return objects
        own = [child for child in tree.of_role(verb, "nsubj") if tree.words[child] not in RELATIVE]
        has_place = any(child in self.cases for child in tree.of_role(verb, "obl"))
        return self.nouns.referents(tree.heads[verb]) if own and not has_place else []

    def _agents(self, verb: int, lemma: str) -> list[int]:
        tree = self.tree
        agents = tree.of_role(verb, "agent")
        if lemma in LOCATIVE_VERBS:
            for agent in agents:
                tree.roles[agent] = "obl"
            return []
        if lemma == "cover" and not agents:
            agents = [
                c for c in tree.of_role(verb, "obl") if self._preposition(c) in ("in", "with")
            ]
            for agent in agents:
                tree.roles[agent] = "agent"
        return [referent for agent in agents for referent in self.nouns.referents(agent)]

    def _preposition(self, noun: int) -> str:
        return self.cases[noun][2] if noun in self.cases else ""

    def _particle(self, verb: int) -> Words | None:
        tree = self.tree
        for child in tree.children[verb]:
            is_particle = tree.roles[child] == "prt" or (
                tree.roles[child] in ("advmod", "stranded")
                and child == verb + 1
                and tree.words[child] in ("up", "down", "out", "off", "over")
            )
            if is_particle and tree.words[child] not in _NOT_PARTICLES:
                return child, child + 1, tree.words[child]
        return None

    def _read_obliques(
        self, subjects: list[int], verb: int, string: str, denied: bool, *also: str
    ) -> None:
        for child in self.tree.of_role(verb, *(also or ("obl", "nmod"))):
            if child in self.cases:
                self._read_oblique(subjects, child, string, (verb, verb + 1), denied)

    def _read_oblique(
        self, subjects: list[int], noun: int, string: str, verb: tuple[int, int], denied: bool
    ) -> None:
        start, end, name = self.cases[noun]
        for subject in subjects:
            for target in self.nouns.referents(noun):
                if subject == target:
                    continue
                if name == "of" and self.tree.words[self.tree.heads[noun]] == "full":
                    said = (start - 1, end, "have")
                elif string == "dress" and name == "in":
                    said = (verb[0], end, "wear")
                elif string:
                    said = (verb[0], end if verb[0] < end else verb[1], f"{string} {name}")
                else:
                    said = (start, end, self._noun_predicate(name, subject, target))
                rule = "pronoun" if noun in self.nouns.pointed_back else "oblique"
                self.scene.relate(subject, said, target, rule, negated=denied)

    def _read_loose_obliques(
        self, verb: int, subjects: list[int], objects: list[int], denied: bool
    ) -> None:
        """`holding a bat in his hand`: the bat is in it; `flying a kite on a beach`: who flies is."""
        for child in self.tree.of_role(verb, "obl"):
            if child not in self.cases:
                continue
            targets = self.nouns.referents(child)
            in_hand = self.tree.words[child] in BODY_PARTS and self._preposition(child) != "with"
            holders = objects if in_hand or set(targets) & set(subjects) else subjects
            self._read_oblique(holders, child, "", NO_WORD, denied)

    def _stranded(self, verb: int) -> list[int]:
        tree = self.tree
        return [
            child
            for child in tree.children[verb]
            if child > verb
            and tree.pos[child] in ("ADP", "PART")
            and tree.roles[child] in ("stranded", "prt", "obl", "advmod", "case", "mark", "nmod")
            and not tree.children[child]
        ]

    def _read_gap(self, verb: int, subjects: list[int], string: str) -> None:
        """`the sofa the man is sitting on`: the man sits on the sofa."""
        if self.tree.roles[verb] != "acl:relcl":
            return
        lemma = verb_lemma(self.tree.words[verb], self.tree.lemmas[verb])
        for token in self._stranded(verb)[:1]:
            self._read_stranded(token, subjects, lemma)

    def _read_stranded(self, token: int, subjects: list[int], verb: str) -> None:
        """A preposition whose noun stands before its clause: `the table the food is on`."""
        tree = self.tree
        clause = token
        while not tree.roles[clause].startswith("acl") and tree.heads[clause] != clause:
            clause = tree.heads[clause]
        if not tree.roles[clause].startswith("acl"):
            for subject in subjects:
                self._describe(subject, token, "state", self._denied(token))
            return
        name = preposition_name(tree.words[token])
        said = (token, token + 1, f"{verb} {name}" if verb else name)
        for subject in subjects:
            for target in self.nouns.referents(tree.heads[clause]):
                if subject != target:
                    self.scene.relate(subject, said, target, "relative")

    def _denied(self, token: int) -> bool:
        tree = self.tree
        return any(tree.roles[child] == "neg" for child in tree.children[token])
