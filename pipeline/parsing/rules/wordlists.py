"""Word lists of the rules: people, clothes, body parts, containers, classes of verbs."""


def words(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


PEOPLE = words(
    "man men woman women boy boys girl girls person people lady ladies child children kid kids "
    "baby player players skier skiers surfer surfers skateboarder snowboarder rider guy guys male "
    "female batter catcher pitcher umpire chef cook baby toddler officer policeman worker couple "
    "crowd adult bride groom soldier soldiers student students teenager mother father son "
    "daughter family boarder referee pedestrian pedestrians someone motorcyclist cyclist athlete "
    "individual gentleman"
)

CLOTHES = words(
    "shirt shirts t-shirt t-shirts jacket jackets coat coats hat hats cap helmet helmets pants "
    "jeans shorts dress skirt suit suits tie uniform uniforms glasses sunglasses goggles gloves "
    "shoes boots sandals socks sweater sweatshirt hoodie vest vests scarf outfit outfits clothes "
    "clothing costume wetsuit apron bikini swimsuit trunks shoe boot glove sock watch necklace "
    "earrings bracelet blouse top tank overalls headband backpack belt robe jersey tuxedo kimono "
    "gown visor bandana mask wig swimwear attire sneakers beanie turban raincoat bathing"
)

BODY_PARTS = words(
    "arm arms hand hands head leg legs foot feet face mouth eye eyes ear ears nose neck back hair "
    "shoulder shoulders finger fingers wrist wrists tail trunk tusks tongue teeth lap chest beard "
    "knee knees thumb lips chin elbow waist fur horns paw paws wing wings beak mane hoof hooves "
    "stomach hip ankle mustache moustache"
)

CONTAINERS = {
    "bottle": "in",
    "bottles": "in",
    "cup": "in",
    "cups": "in",
    "glass": "in",
    "glasses": "in",
    "mug": "in",
    "plate": "on",
    "plates": "on",
    "platter": "on",
    "tray": "on",
    "bag": "in",
    "bags": "in",
    "boxes": "in",
    "jar": "in",
    "can": "in",
    "pot": "in",
    "vase": "in",
    "line": "in",
    "lines": "in",
    "field": "have",
    "bowl": "have",
    "bowls": "have",
    "basket": "have",
    "bucket": "have",
    "box": "in",
}
"""Holders before `of` and what is said: the content is `in` or `on` them, or they `have` it."""

NOUNS_IN_ING = words(
    "building buildings painting paintings ceiling railing railings clothing lighting siding "
    "awning topping toppings wing wings string ring rings icing frosting wiring piping bedding "
    "flooring fencing landing crossing parking evening morning covering lettering marking "
    "markings opening earring stuffing seating string swing swings king spring wedding thing "
    "things something"
)
"""Nouns that a tagger may read as the `-ing` form of a verb."""

ED_NOUNS = {
    "haired": ("have", "hair"),
    "sleeved": ("have", "sleeve"),
    "sleeve": ("have", "sleeve"),
    "legged": ("have", "legs"),
    "wheeled": ("have", "wheels"),
    "leaved": ("have", "leaves"),
    "bearded": ("have", "beard"),
    "framed": ("have", "frame"),
    "tiled": ("on", "tile"),
    "tile": ("on", "tile"),
    "fenced": ("around", "fence"),
    "snowy": ("on", "snow"),
    "faced": ("have", "face"),
}
"""Adjectives made of a noun: with `have` the thing has it, with another predicate it is there."""

PRONOUNS = {
    "he": "man",
    "him": "man",
    "she": "woman",
    "her": "woman",
    "they": "people",
    "them": "people",
    "we": "people",
    "i": "person",
    "you": "person",
    "me": "person",
    "someone": "person",
    "somebody": "person",
    "everyone": "people",
    "himself": "man",
    "herself": "woman",
}
"""Pronouns to what they mean where nothing before them can."""

RELATIVE = frozenset(("who", "that", "which", "whom", "whose", "where"))

LIGHT_VERBS = words(
    "try get start begin prepare go appear seem attempt about ready want continue look use learn "
    "need like love help keep finish proceed decide wait set"
)
"""Verbs and adjectives whose `to` or `-ing` complement says what is done."""

LOCATIVE_VERBS = words(
    "park sit stand walk lie lay locate place situate hang rest lean seat fly go swim sleep graze "
    "mount build gather line position run"
)
"""Verbs after which `by` says where, not by whom."""

PLACE_WORDS = words(
    "underneath inside outside behind near next atop below beneath above along around across "
    "beside over under by"
)
"""Prepositions that a tagger may take for adverbs."""

SHADES = words("light dark bright lime navy pale deep sky hot multi royal olive burnt neon off")
"""Words that belong to the colour after them: `(shirt, is, light blue)`."""

COLOURS = words(
    "white black blue green red brown yellow gray grey orange silver pink purple tan gold beige "
    "maroon teal turquoise colored colred golden violet"
)
