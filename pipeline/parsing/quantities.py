"""Numbers and nouns of quantity: `three dogs`, `a pair of shoes`, `a row of buildings`."""

NUMBERS = {
    word: str(number)
    for number, word in enumerate(
        "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
        "sixteen seventeen eighteen nineteen twenty".split(),
        start=2,
    )
} | {"both": "2", "dozen": "12", "hundred": "100"}
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

PARTITIVES = frozenset("some many all most several each one none any both few much half".split())
"""Determiners before `of` (`some of the people`); parsers take them for pronouns."""

PAIRS = frozenset(("pair", "couple", "pairs"))
"""Nouns before `of` that count two where what they count has no number of its own."""

DROPPED_QUANTITIES = frozenset(
    "amount array assortment batch bit bits body bouquet bunch bunches cluster clusters collection "
    "crowd expanse flock half handful heap herd herds kind load loads lot lots majority "
    "mix number pack pile piles portion rest row rows school section selection series set sets sheet "
    "side sides sort stack stacks stretch string strip swarm team ton tons trio type types variety "
    "view views picture pictures image photo photograph close-up closeup shot hundreds dozens "
    "thousands plenty couple pair pairs game rolls roll bushel bundle clump tuft".split()
)
"""Nouns before `of` that say how much or how seen, and are no object of their own."""

VAGUE = frozenset(
    "many several some few lots multiple various numerous any all each every other another different "
    "same such much more most both no one couple own only next first last certain whole entire "
    "individual else additional extra various".split()
)
"""Determiners and adjectives that are no attribute."""


def number_string(word: str) -> str | None:
    """The digits of a number word of two or more; None for anything else."""
    if word.isdigit():
        return word if word not in ("0", "1") else None
    return NUMBERS.get(word)
