"""Forms of English verbs, from their participles and lemmas."""

_IRREGULAR = {
    "be": "been", "bite": "bitten", "drink": "drunk", "build": "built", "buy": "bought",
    "catch": "caught", "cut": "cut", "draw": "drawn", "drive": "driven", "eat": "eaten",
    "feed": "fed", "hit": "hit", "hold": "held", "lead": "led", "make": "made", "read":
    "read", "ride": "ridden", "sell": "sold", "shear": "shorn", "swing": "swung", "take":
    "taken", "throw": "thrown", "wear": "worn", "sweep": "swept", "hang": "hung", "dig":
    "dug", "give": "given", "fight": "fought", "light": "lit", "put": "put", "have": "had",
    "do": "done", "blow": "blown", "fly": "flown", "ring": "rung", "write": "written",
    "shake": "shaken", "wind": "wound", "lay": "laid",
}  # fmt: skip
_DOUBLED = frozenset(
    ("chop", "drop", "grip", "grab", "hop", "hug", "jog", "nod", "pat", "pet", "pin", "plan",
     "slip", "stir", "tap", "trim", "wrap")
)  # fmt: skip


def present(participle: str, lemma: str, plural: bool) -> str:
    """The simple present of a verb: `riding` and `ride` give `rides`, or `ride` of several.

    The lemma is used where it is one of the participle's; annotations may name another verb.
    """
    stem = lemma if participle[:2] == lemma[:2] else participle.removesuffix("ing")
    if plural:
        return stem
    if stem in ("have", "do", "go"):
        return {"have": "has", "do": "does", "go": "goes"}[stem]
    if stem.endswith(("s", "sh", "ch", "x", "z")):
        return stem + "es"
    if stem.endswith("y") and stem[-2:-1] not in "aeiou":
        return stem[:-1] + "ies"
    return stem + "s"


def past_participle(lemma: str) -> str:
    """`ride` gives `ridden`, `push` gives `pushed`."""
    if lemma in _IRREGULAR:
        return _IRREGULAR[lemma]
    if lemma.endswith("e"):
        return lemma + "d"
    if lemma.endswith("y") and lemma[-2:-1] not in "aeiou":
        return lemma[:-1] + "ied"
    return lemma + lemma[-1] + "ed" if lemma in _DOUBLED else lemma + "ed"
