"""Are these captions English? Every parser here answers any text, so only its words tell.

The words that the embedded `scene_graph` knows are those of English captions. Of 4,833 captions of
Flickr30K none has half of its words unknown; captions in German, French, Spanish, Italian, Dutch
and Czech have nine tenths.
"""

import json
import re
from collections.abc import Sequence
from functools import cache

from pipeline.parsing.embedded import EMBEDDED_FOLDER, LEARNED

SAMPLE = 2_000
"""Number of captions of a data set that are checked, spread over it."""

UNKNOWN_SHARE = 0.5
"""Share of unknown words from which a caption of some words counts as not English."""

LEAST_WORDS = 4
LEAST_SHARE = 0.02
"""Share of such captions from which there is a warning."""

_WORDS = EMBEDDED_FOLDER / LEARNED / "words.json"
_WORD = re.compile(r"[^\W\d_]+")


def unknown_share(text: str) -> float:
    """Share of the words of a text that English captions do not have, from 0 to 1."""
    words = _WORD.findall(text.lower())
    known = _known_words()
    return sum(word not in known for word in words) / max(1, len(words))


def language_warning(texts: Sequence[str]) -> str | None:
    """What to tell a user whose captions are not English, or None.

    Args:
        texts: the captions; of many, some are checked.
    """
    if not _WORDS.is_file():
        return None
    checked = texts[:: -(-len(texts) // SAMPLE)] if texts else []
    long = [text for text in checked if len(_WORD.findall(text)) >= LEAST_WORDS]
    foreign = [text for text in long if unknown_share(text) >= UNKNOWN_SHARE]
    if len(foreign) <= LEAST_SHARE * len(long):
        return None
    share = sum(map(unknown_share, foreign)) / len(foreign)
    return (
        f"warning: {len(foreign)} of the {len(long)} checked captions do not look English, such as "
        f"{foreign[0][:60]!r}: {share:.0%} of their words are unknown. Captions are read as "
        "English, so their triples are meaningless.\nTranslate them, or leave them out."
    )


@cache
def _known_words() -> frozenset[str]:
    return frozenset(json.loads(_WORDS.read_text(encoding="utf-8"))["words"])
