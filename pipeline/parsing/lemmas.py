"""Lemmas of verbs in captions, right also where the model's lemmatiser is not."""

from collections.abc import Iterator

from pipeline.parsing.lexicon import lexicon

_IRREGULAR = {
    "ate": "eat", "being": "be", "bent": "bend", "blown": "blow", "bound": "bind", "broke": "break",
    "broken": "break", "brought": "bring", "built": "build", "came": "come", "caught": "catch",
    "coming": "come", "cut": "cut", "done": "do", "drawn": "draw", "driven": "drive", "dug": "dig",
    "dying": "die", "eaten": "eat", "fallen": "fall", "fed": "feed", "fell": "fall", "flew": "fly",
    "flown": "fly", "found": "find", "frozen": "freeze", "gone": "go", "grew": "grow",
    "grown": "grow", "had": "have", "has": "have", "having": "have", "held": "hold", "hid": "hide",
    "hidden": "hide", "hung": "hang", "kept": "keep", "laid": "lay", "lain": "lay", "lays": "lay",
    "laying": "lay", "led": "lead", "left": "leave", "lie": "lay", "lies": "lay", "lit": "light",
    "lying": "lay", "made": "make", "making": "make", "overlooking": "overlook", "ran": "run",
    "ridden": "ride", "riding": "ride", "rode": "ride", "sat": "sit", "seated": "sit", "seen": "see",
    "shown": "show", "skiing": "ski", "skis": "ski", "slept": "sleep", "spread": "spread",
    "stood": "stand", "stuck": "stick", "swung": "swing", "taken": "take", "threw": "throw",
    "thrown": "throw", "tied": "tie", "tying": "tie", "wore": "wear", "worn": "wear",
    "woven": "weave", "written": "write", "wrote": "write",
}  # fmt: skip


def verb_lemma(word: str, lemma: str) -> str:
    """The base form of a verb's form.

    Rule-based lemmatisers give `rid` for `riding` and leave a participle tagged as an adjective as
    it stands; the verbs of the lexicon decide. `lie` is `lay`, as captions (and FACTUAL) confuse them.
    """
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    verbs = lexicon().verbs
    if lemma in verbs:
        return lemma
    return next((form for form in _base_forms(word) if form in verbs), lemma)


def _base_forms(word: str) -> Iterator[str]:
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) > len(ending) + 2:
            stem = word[: -len(ending)]
            yield stem
            yield stem + "e"
            if stem[-1] == stem[-2]:
                yield stem[:-1]
            if stem.endswith("i"):
                yield stem[:-1] + "y"
