"""What parsers trained on sentences get wrong in captions, put right before the rules read them.

A caption is often a noun phrase without articles (`batter holding bat`), which a parser takes for one
long compound, and its first noun may come out as a verb (`oranges in a bowl`).
"""

from pipeline.parsing.lemmas import verb_lemma
from pipeline.parsing.lexicon import NAME, lexicon
from pipeline.parsing.schemes import CaptionTree
from pipeline.parsing.wordlists import NOUNS_IN_ING

_NOUN = frozenset(("NOUN", "PROPN"))
_BEFORE_NOUN = frozenset(("compound", "amod", "nmod"))


def mend(tree: CaptionTree) -> None:
    """Change tags and arcs of a caption in place."""
    for token, word in enumerate(tree.words):
        if tree.pos[token] == "VERB" and token > 0:
            _mend_compound(tree, token)
        if word.endswith("ing") and _is_verb_form(word):
            _mend_participle(tree, token)
        elif word.endswith("ed") and tree.roles[token] == "root":
            _mend_first_participle(tree, token)


def _is_verb_form(word: str) -> bool:
    return word not in NOUNS_IN_ING and verb_lemma(word, word) in lexicon().verbs


def _mend_compound(tree: CaptionTree, token: int) -> None:
    """`tennis racket` is a noun also where the racket was taken for a verb."""
    outcome = lexicon().pairs.get((tree.words[token - 1], tree.words[token]))
    is_name = outcome is not None and outcome[0] == NAME
    if is_name and tree.pos[token - 1] in _NOUN and not tree.of_role(token, "obj"):
        tree.pos[token] = "NOUN"
        tree.attach(token - 1, token, "compound")
        for child in tree.of_role(token, "obl"):
            tree.roles[child] = "nmod"


def _mend_participle(tree: CaptionTree, token: int) -> None:
    """`batter holding bat`: a noun, what it does, and to what."""
    before, head = token - 1, tree.heads[token]
    if before < 0 or tree.pos[before] not in _NOUN:
        return
    if tree.heads[before] == token and tree.roles[before] in ("compound", "amod", "nsubj"):
        if tree.roles[before] != "nsubj" or tree.pos[token] != "VERB":
            _make_verb(tree, token, before)
    elif tree.roles[token] in _BEFORE_NOUN and head > token and tree.heads[before] == head:
        role, above = tree.roles[head], tree.heads[head]
        is_root = above == head
        tree.attach(before, before if is_root else above, "root" if is_root else role)
        for child in tree.children[head][:]:
            if child < before:
                tree.attach(child, before, tree.roles[child])
        tree.pos[token] = "VERB"
        tree.attach(token, before, "acl")
        tree.attach(head, token, "obj")


def _make_verb(tree: CaptionTree, token: int, subject: int) -> None:
    tree.pos[token] = "VERB"
    tree.roles[subject] = "nsubj"
    for child in tree.children[token][:]:
        if child < subject and tree.roles[child] in ("det", "amod", "compound", "nummod", "nmod:poss"):
            tree.attach(child, subject, tree.roles[child])
        elif tree.roles[child] == "nmod":
            tree.roles[child] = "obl"


def _mend_first_participle(tree: CaptionTree, token: int) -> None:
    """`crashed airplane in trees` speaks of the airplane."""
    objects = tree.of_role(token, "obj")
    if token > 1 or not objects or tree.of_role(token, "nsubj", "nsubj:pass"):
        return
    noun = objects[0]
    for child in tree.children[token][:]:
        if child != noun:
            tree.attach(child, noun, "nmod" if tree.roles[child] == "obl" else tree.roles[child])
    tree.attach(noun, noun, "root")
    tree.attach(token, noun, "amod")
