"""`a man in a red shirt` wears it: FACTUAL's train part says `wear` of 478 such, `in` of 132."""

_GARMENTS = frozenset(
    """apron attire bikini boots cap caps cape clothes clothing coat coats costume costumes dress
    dresses glasses gloves goggles gown hat hats headscarf helmet helmets hoodie hoodies jacket
    jackets jeans jersey jerseys jumpsuit kimono leotard mask masks outfit outfits overalls
    pajamas pants robe robes sandals scarf shirt shirts shoes shorts skirt skirts sneakers
    sombreros suit suits sunglasses sweater sweaters sweatshirt sweatshirts swimsuit swimsuits
    t-shirt t-shirts tank tie ties top tops tracksuit trunks turban tutu tuxedo uniform uniforms
    vest vests wetsuit wetsuits""".split()  # noqa: SIM905
)
_NOT_WEARERS = frozenset(
    """arm arms buttons crease design feet hand hands hole holes legs logo pattern pen pocket rip
    stripe stripes tear wrinkle wrinkles""".split()  # noqa: SIM905
)


def is_worn(subject: str, garment: str) -> bool:
    """Whether a thing that is `in` another wears it.

    Args:
        subject: name of the thing.
        garment: name of what it is in.
    """
    return garment.split()[-1] in _GARMENTS and subject.split()[-1] not in _NOT_WEARERS
