"""Clean a caption's text before it is parsed, and find captions that cannot be parsed."""

import html
import re
import unicodedata

MAX_WORDS = 512
"""A caption has ten to thirty words; beyond this it is a document, or a fault."""

_MAX_CHARACTERS = 20_000
_TAG = re.compile(r"</?[A-Za-z!][^<>]*>")
_SPACES = re.compile(r"\s+")
_PLAIN = re.compile(r"[ -%'-;=?-~]+")  # printable ASCII without & < >
_HIDDEN = frozenset(("Cc", "Cf", "Co", "Cn"))  # control, format, private, unassigned


def clean_text(text: str) -> str:
    """Clean a caption for the parser.

    Removes HTML tags and entities, control and format characters; collapses white space; and lowers
    a caption that is all upper case, as parsers take capitals for names.
    """
    if not _PLAIN.fullmatch(text):
        text = _TAG.sub(" ", html.unescape(text))
        text = "".join(" " if unicodedata.category(c) in _HIDDEN else c for c in text)
    text = _SPACES.sub(" ", text).strip()
    return text.lower() if text.isupper() else text


def fault_of(text: str) -> str | None:
    """Why a cleaned caption cannot be parsed; None if it can."""
    if not text:
        return "the caption is empty"
    if len(text) > _MAX_CHARACTERS or text.count(" ") >= MAX_WORDS:
        words = text.count(" ") + 1
        return f"the caption has {words:,} words; at most {MAX_WORDS} are parsed"
    if text.isascii():
        return None if any(c.isalpha() for c in text) else f"the caption has no word: {text[:40]!r}"
    if any(unicodedata.category(c) == "Cs" for c in text):
        return "the caption is not valid Unicode: it has half of a surrogate pair"
    letters = [c for c in text if c.isalpha()]
    if not letters:
        return f"the caption has no word: {text[:40]!r}"
    latin = sum(unicodedata.name(c, "").startswith("LATIN") for c in letters)
    if 2 * latin < len(letters):
        return "the caption is not in Latin letters, and the parser reads English"
    return None
