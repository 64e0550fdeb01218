"""Numbers and nouns of quantity: `three dogs`, `a pair of shoes`, `a row of buildings`."""

from pipeline.parsing.rules.wordlists import words

_FROM_TWO = (
    "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty"
)
NUMBERS: dict[str, str] = dict(zip(_FROM_TWO.split(), map(str, range(2, 21)), strict=True))
NUMBERS |= {"both": "2", "dozen": "12", "hundred": "100"}
"""Number words to digits. `one` says no more than `a` and gives no attribute."""

KEPT_QUANTITIES = {
    "group": "group of",
    "piece": "piece",
    "pieces": "pieces",
    "slice": "slice",
    "slices": "slices",
    "patch": "patch",
    "patches": "patches",
    "part": "part",
    "statue": "statue",
}
"""Nouns before `of` that the noun after it takes as an attribute: `(pizza, is, slice)`."""

PARTITIVES = words("some many all most several each one none any both few much half")
"""Determiners before `of` (`some of the people`); parsers take them for pronouns."""

DROPPED_QUANTITIES = words(
    "amount array assortment batch bit bits body bouquet bunch bunches bundle bushel clump "
    "cluster clusters collection couple crowd dozens expanse flock game half handful heap herd "
    "herds hundreds image kind load loads lot lots majority mix number pack pair pairs photo "
    "photograph picture pictures pile piles plenty portion rest roll rolls row rows school "
    "section selection series set sets sheet shot side sides sort stack stacks stretch string "
    "strip swarm team thousands ton tons trio tuft type types variety view views"
)
"""Nouns before `of` that say how much or how seen, and are no object of their own."""

VAGUE = words(
    "additional all another any certain different each else entire every extra few first "
    "individual last lots many more most much multiple next no numerous one only other own same "
    "several some such various whole"
)
"""Determiners and adjectives that are no attribute."""


def number_string(word: str) -> str | None:
    """The digits of a number word of two or more; None for anything else."""
    if word.isdecimal() and word.isascii():
        return word if int(word) > 1 else None
    return NUMBERS.get(word)
