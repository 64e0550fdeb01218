"""Lemmas of verbs in captions, right also where the model's lemmatiser is not."""

import re
from collections.abc import Iterator
from functools import lru_cache

from pipeline.parsing.rules.lexicon import lexicon
from pipeline.parsing.rules.wordlists import words

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
    "ridden": "ride", "riding": "ride", "rode": "ride", "sat": "sit", "seated": "sit",
    "seen": "see", "shown": "show", "skiing": "ski", "skis": "ski", "slept": "sleep",
    "spread": "spread", "stood": "stand", "stuck": "stick", "swung": "swing", "taken": "take",
    "threw": "throw",
    "thrown": "throw", "tied": "tie", "tying": "tie", "wore": "wear", "worn": "wear",
    "woven": "weave", "written": "write", "wrote": "write",
}  # fmt: skip


_ENDS_SHORT = re.compile(r"[^aeiou]*[aeiou][^aeiouwxy]")  # sit, run, swim

_VERBS = words(
    "admire bake balance bark beg bike blow bounce bow brush buckle camp carve cast celebrate "
    "chat cheer chew chop clean cling color comb compete cradle crouch cuddle cycle dance dangle "
    "dig dine discuss dribble drill dump embrace entertain erect examine exercise explore film "
    "fish flex fry gesture giggle glance golf greet grill grin guard hail hammer harvest haul "
    "help hop hurdle ice iron jog juggle juice kayak kiss knit laugh launch leap lecture lounge "
    "march meditate mend mop mow nap nuzzle pack paint parade pause pedal peel perch pile plow "
    "poke polish pose pound prance pray preach present press prop race raft raise rake reach "
    "rehearse relax rinse roast rock row sand saw scale scoop scrub sculpt sew shave shelter shout "
    "shovel shuffle skip sled slurp snorkel snuggle speak spin splash spray sprint squat squirt "
    "steam stir stroll strum study sunbathe surf sweep tackle tend tightrope toss tour tow trim "
    "trip tug tumble twirl vacuum wander weld whisper wipe wrestle yawn yell"
)
"""Verbs that the lexicon has not, as FACTUAL's captions seldom use them."""


@lru_cache(maxsize=20_000)
def verb_lemma(word: str, lemma: str) -> str:
    """The base form of a verb's form.

    Rule-based lemmatisers give `rid` for `riding` and leave a participle tagged as an adjective as
    it stands; the verbs of the lexicon decide. `lie` is `lay`: captions and FACTUAL confuse them.
    """
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    verbs = lexicon().verbs
    if lemma in verbs:
        return lemma
    forms = tuple(_base_forms(word))
    return next((form for form in forms if form in verbs or form in _VERBS), lemma)


def progressive(word: str, lemma: str) -> str:
    """What somebody is doing, of what somebody does: `runs` is `running`; participles stay."""
    if word not in (lemma, lemma + "s", lemma + "es", lemma[:-1] + "ies"):
        return word
    if lemma.endswith("e") and not lemma.endswith(("ee", "ye")):
        return lemma[:-1] + "ing"
    return lemma + lemma[-1] + "ing" if _ENDS_SHORT.fullmatch(lemma) else lemma + "ing"


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
