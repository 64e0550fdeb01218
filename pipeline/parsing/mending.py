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
        if tree.pos[token] == "VERB":
            _mend_noun(tree, token)
        if word.endswith("ing") and _is_verb_form(word):
            _mend_participle(tree, token)
        elif word.endswith("ed") and tree.roles[token] == "root":
            _mend_first_participle(tree, token)


def _is_verb_form(word: str) -> bool:
    return word not in NOUNS_IN_ING and verb_lemma(word, word) in lexicon().verbs


def _mend_noun(tree: CaptionTree, token: int) -> None:
    """`fork on a table`, `tennis racket on a bench`: a noun that was taken for a verb."""
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
    for child in tree.of_role(token, "obl"):
        tree.roles[child] = "nmod"
    if tree.of_role(token, "case"):
        tree.roles[token] = "nmod"


def _lacks_subject(tree: CaptionTree, token: int) -> bool:
    if tree.of_role(token, "nsubj", "nsubj:pass"):
        return False
    if any(child < token for child in tree.of_role(token, "det", "amod", "nummod")):
        return True
    is_participle = tree.words[token].endswith(("ing", "ed", "en"))
    return tree.roles[token] == "root" and not is_participle and token < 2


def _mend_participle(tree: CaptionTree, token: int) -> None:
    """`batter holding bat`: a noun, what it does, and to what."""
    before, head = token - 1, tree.heads[token]
    if before < 0 or tree.pos[before] not in _NOUN:
        return
    if tree.heads[before] == token and tree.roles[before] in ("compound", "amod", "advmod"):
        _put_under_doer(tree, token, before)
    elif tree.roles[token] in _BEFORE_NOUN and head > token and tree.heads[before] == head:
        _put_under_doer(tree, head, before)
        tree.pos[token] = "VERB"
        tree.attach(token, before, "acl")
        tree.attach(head, token, "obj")


def _put_under_doer(tree: CaptionTree, token: int, doer: int) -> None:
    """Give the doer the place, articles and adjectives of a token, which becomes its clause."""
    role, above = tree.roles[token], tree.heads[token]
    is_root = above == token
    tree.attach(doer, doer if is_root else above, "root" if is_root else role)
    for child in tree.children[token][:]:
        if child < doer:
            tree.attach(child, doer, tree.roles[child])
        elif tree.roles[child] == "nmod":
            tree.roles[child] = "obl"
    tree.pos[token] = "VERB"
    tree.attach(token, doer, "acl")


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
