"""Repair what parsers trained on sentences get wrong in captions, before the rules read them.

A caption is often a noun phrase without articles (`batter holding bat`), which a parser takes for
one long compound, and its first noun may come out as a verb (`oranges in a bowl`).
"""

from pipeline.parsing.rules.lemmas import verb_lemma
from pipeline.parsing.rules.lexicon import ATTRIBUTE, NAME, lexicon
from pipeline.parsing.rules.schemes import CaptionTree
from pipeline.parsing.rules.wordlists import COLOURS, NOUNS_IN_ING, PLACE_WORDS

_NOUN = frozenset(("NOUN", "PROPN"))
_BEFORE_NOUN = frozenset(("compound", "amod", "nmod"))
_NOMINAL = frozenset(("obl", "nmod", "obj"))
_ALWAYS_RIGHT = frozenset(("DET", "ADP", "PUNCT", "CCONJ", "PART", "NUM"))
_SUBJECTS = ("nsubj", "nsubj:pass")
_HAVE = frozenset(("has", "have", "had", "having"))


def repair_tree(tree: CaptionTree) -> None:
    """Change tags and arcs of a caption in place."""
    for token, pos in enumerate(tree.pos):
        if pos not in _ALWAYS_RIGHT:
            _repair_word(tree, token)
    for token, role in enumerate(tree.roles):
        if role == "root" and tree.pos[token] in _NOUN:
            _repair_root(tree, token)
        if tree.pos[token] in ("VERB", "ADJ", "NOUN") and len(tree.of_role(token, *_SUBJECTS)) > 1:
            _repair_relative(tree, token)


def _repair_word(tree: CaptionTree, token: int) -> None:
    word, role, pos = tree.words[token], tree.roles[token], tree.pos[token]
    if role == "acl" and tree.of_role(token, *_SUBJECTS):
        tree.roles[token] = role = "acl:relcl"
    if word in _HAVE and role == "aux":
        _repair_have(tree, token)
    elif word in PLACE_WORDS and pos == "ADV" and tree.heads[token] > token:
        _repair_place(tree, token)
    elif pos in _NOUN and word.endswith("s") and _has_singular_article(tree, token):
        _repair_noun_verb(tree, token)
    elif pos == "VERB" and not _repair_noun_verb(tree, token):
        _repair_noun(tree, token)
    elif pos == "PRON" and word in ("it", "them") and role == "nmod":
        _repair_pronoun(tree, token)
    if tree.pos[token] == "VERB" and role == "conj":
        _repair_joined_subject(tree, token)
    if word.endswith("ing"):
        if word not in NOUNS_IN_ING and verb_lemma(word, word) in lexicon().verbs:
            _repair_participle(tree, token)
    elif role == "root" and token < 2:
        _repair_first(tree, token)
    if tree.roles[token] == "obl":
        head = tree.heads[token]
        if tree.pos[head] in _NOUN and not tree.of_role(head, "cop"):
            tree.roles[token] = "nmod"


def _repair_first(tree: CaptionTree, token: int) -> None:
    """A root that begins the caption is a noun, or modifies one."""
    if tree.of_role(token, "obj", "prt"):
        if not _repair_noun_verb(tree, token):
            _repair_first_modifier(tree, token)
        return
    is_unsure = token == 0 and tree.pos[0] in ("ADJ", "INTJ", "X")
    if is_unsure and tree.of_role(0, "obl", "nmod", "acl") and not tree.of_role(0, "cop"):
        tree.pos[0] = "NOUN"


def _repair_have(tree: CaptionTree, token: int) -> None:
    """`the toilet has lid`: a noun after `has`, taken for its participle."""
    noun = tree.heads[token]
    word = tree.words[noun]
    is_participle = tree.pos[noun] == "VERB" and verb_lemma(word, word) != word
    if noun < token or is_participle or word == "been":
        return
    _replace(tree, noun, token)
    for child in tree.of_role(noun, *_SUBJECTS, "expl", "aux", "neg", "mark", "punct", "prt"):
        tree.attach(child, token, tree.roles[child])
    tree.pos[token], tree.pos[noun] = "VERB", "NOUN"
    tree.attach(noun, token, "obj")


def _repair_place(tree: CaptionTree, token: int) -> None:
    """`sitting underneath umbrella`: a preposition taken for an adverb."""
    noun = tree.heads[token]
    if tree.roles[token] not in ("amod", "advmod") or tree.pos[noun] not in _NOUN:
        return
    if tree.of_role(noun, "case") or any(t < token for t in tree.of_role(noun, "det", "amod")):
        return
    tree.roles[token] = "case"
    if tree.roles[noun] == "obj":
        tree.roles[noun] = "obl"


def _repair_noun(tree: CaptionTree, token: int) -> None:
    """`fork on a table`, `seven kites in the sky`: a noun that was taken for a verb."""
    if tree.of_role(token, "obj", "expl", "cop", "aux", "aux:pass"):
        return
    is_name = False
    if token > 0 and tree.pos[token - 1] in _NOUN:
        outcome = lexicon().pairs.get((tree.words[token - 1], tree.words[token]))
        is_name = outcome is not None and outcome[0] == NAME
    if not is_name and not _lacks_subject(tree, token):
        return
    tree.pos[token] = "NOUN"
    if is_name:
        tree.attach(token - 1, token, "compound")
    for child in tree.of_role(token, *_SUBJECTS):
        tree.roles[child] = "nummod" if tree.pos[child] == "NUM" else "amod"
    for child in tree.of_role(token, "obl"):
        tree.roles[child] = "nmod"
    for child in tree.of_role(token, "mark"):
        tree.roles[child] = "case"
    if tree.of_role(token, "case"):
        tree.roles[token] = "nmod"


def _lacks_subject(tree: CaptionTree, token: int) -> bool:
    is_participle = tree.words[token].endswith(("ing", "ed", "en"))
    subjects = tree.of_role(token, *_SUBJECTS)
    if subjects:
        number = subjects[0] == token - 1 and tree.pos[token - 1] in ("NUM", "ADJ")
        return number and len(subjects) == 1 and not is_participle
    if any(child < token for child in tree.of_role(token, "det", "amod", "nummod")):
        return True
    if is_participle:
        return False
    return tree.roles[token] in _NOMINAL or (tree.roles[token] == "root" and token < 2)


def _repair_participle(tree: CaptionTree, token: int) -> None:
    """`batter holding bat`: a noun, what it does, and to what."""
    before, head = token - 1, tree.heads[token]
    if before < 0 or tree.pos[before] not in _NOUN:
        return
    if tree.heads[before] == token and tree.roles[before] in ("compound", "amod", "advmod"):
        _put_under_doer(tree, token, before)
    elif tree.roles[token] in _BEFORE_NOUN and head > token and tree.heads[before] == head:
        _put_under_doer(tree, head, before)
        tree.pos[head] = "NOUN"
        tree.pos[token] = "VERB"
        tree.attach(token, before, "acl")
        tree.attach(head, token, "obj")


def _put_under_doer(tree: CaptionTree, token: int, doer: int) -> None:
    """Give the doer the place, articles and adjectives of a token, which becomes its clause."""
    _replace(tree, token, doer)
    for child in tree.children[token][:]:
        if child < doer:
            tree.attach(child, doer, tree.roles[child])
        elif tree.roles[child] == "nmod":
            tree.roles[child] = "obl"
    tree.pos[token] = "VERB"
    tree.attach(token, doer, "acl")


def _has_singular_article(tree: CaptionTree, token: int) -> bool:
    """`a dog sits`: no plural noun has this article."""
    return any(tree.words[child] in ("a", "an") for child in tree.of_role(token, "det"))


def _repair_noun_verb(tree: CaptionTree, token: int) -> bool:
    """`man wears green jacket`: a verb that was taken for a noun."""
    before = token - 1
    word = tree.words[token]
    is_subject = (
        before >= 0
        and tree.heads[before] == token
        and tree.roles[before] == "compound"
        and tree.pos[before] in _NOUN
    )
    is_known = (tree.words[before], word) in lexicon().pairs
    if not is_subject or is_known or verb_lemma(word, word) not in lexicon().verbs:
        return False
    tree.pos[token], tree.roles[before] = "VERB", "nsubj"
    for child in tree.children[token][:]:
        if child < before:
            tree.attach(child, before, tree.roles[child])
        elif child > token and tree.roles[child] in ("nmod", "appos"):
            tree.roles[child] = "obl" if tree.of_role(child, "case") else "obj"
    return True


def _repair_pronoun(tree: CaptionTree, token: int) -> None:
    """`a plate with food on it`: the food is on it, not the plate."""
    head = tree.heads[token]
    between = [c for c in tree.of_role(head, "nmod") if head < c < token]
    cases = [tree.words[c] for noun in between[-1:] for c in tree.of_role(noun, "case")]
    if cases == ["with"]:
        tree.attach(token, between[-1], "nmod")


def _repair_joined_subject(tree: CaptionTree, verb: int) -> None:
    """`a man and a woman ride`: a clause joined to a noun has that noun as a subject too."""
    first = tree.heads[verb]
    own = tree.of_role(verb, "nsubj")
    if tree.pos[first] not in _NOUN or tree.roles[first] != "root" or len(own) != 1:
        return
    tree.attach(verb, verb, "root")
    tree.attach(first, verb, "nsubj")
    tree.attach(own[0], first, "conj")


def _repair_first_modifier(tree: CaptionTree, token: int) -> None:
    """`crashed airplane in trees`, `grey wall behind the bed`: the first word is a modifier."""
    noun = next(iter(tree.of_role(token, "obj")), -1)
    if tree.of_role(token, *_SUBJECTS) or noun < token:
        return
    word = tree.words[token]
    is_modifier = word in COLOURS or lexicon().modifiers.get(word) == ATTRIBUTE
    if not is_modifier and tree.pos[token] == "VERB" and not word.endswith("ed"):
        return
    for child in tree.children[token][:]:
        if child != noun:
            tree.attach(child, noun, "nmod" if tree.roles[child] == "obl" else tree.roles[child])
    for child in tree.of_role(noun, "compound"):
        if child > token and tree.words[child + 1].endswith("ing"):  # blurry hand holding money
            _repair_participle(tree, child + 1)
    _replace(tree, token, noun)
    tree.attach(token, noun, "amod")


def _repair_root(tree: CaptionTree, token: int) -> None:
    """`two birds beside a plate`: the first noun is what the caption is about."""
    cases = tree.of_role(token, "case")
    if not cases or tree.of_role(token, "cop"):
        return
    for child in tree.of_role(token, "advmod", "nsubj", "compound", "dep", "obl", "nmod"):
        if child < cases[0] and tree.pos[child] in _NOUN and not tree.of_role(child, "case"):
            _replace(tree, token, child)
            for other in tree.children[token][:]:
                if other < child:
                    tree.attach(other, child, tree.roles[other])
            tree.attach(token, child, "nmod")
            return


def _repair_relative(tree: CaptionTree, verb: int) -> None:
    """`the pole the meter is mounted on`: two subjects, the first of which the clause describes."""
    first, second = tree.of_role(verb, *_SUBJECTS)[:2]
    if tree.pos[first] not in _NOUN or second > verb or tree.words[second] in ("that", "which"):
        return
    _replace(tree, verb, first)
    tree.attach(verb, first, "acl:relcl")


def _replace(tree: CaptionTree, token: int, other: int) -> None:
    """Put another token in the place of a token in the tree."""
    role, above = tree.roles[token], tree.heads[token]
    is_root = above == token
    tree.attach(other, other if is_root else above, "root" if is_root else role)
