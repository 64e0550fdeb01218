"""Clean a caption's text before it is parsed, and find captions that cannot be parsed."""

import html
import re
import unicodedata
from itertools import pairwise

MAX_WORDS = 512
"""A caption has ten to thirty words; beyond this it is a document, or a fault."""

_MAX_CHARACTERS = 20_000
_TAG = re.compile(r"</?[A-Za-z!][^<>]*>")
_BREAK_TAG = re.compile(r"<br\s*/?>|</(?:p|div|li)>", re.IGNORECASE)
_LINE_BREAKS = re.compile(r"[ \t]*[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]\s*")
_BARS = re.compile(r"(?:^|\s)\s*(?:[|•·]\s+)+")
_UNSPACED = re.compile(r"(?<=[a-z]{2}[.!?;])(?=[A-Z])|(?<=\s[.!?;])(?=[A-Za-z])")
_ARTICLES = re.compile(r"(?:an?|the|some|there|two|three|four|five|his|her|their)\b")
_UNFINISHED = re.compile(
    r"\b(?:an?|the|and|or|of|in|on|at|to|by|for|from|with|near|is|are|his|her|their)$",
    re.IGNORECASE,
)
_CLAUSE_WORDS = 4  # `a girl reads books`
_SPACES = re.compile(r"\s+")
_PLAIN = re.compile(r"[ -%'-;=?-{}~]+")  # printable ASCII without & < > |
_HIDDEN = frozenset(("Cc", "Cf", "Co", "Cn"))  # control, format, private, unassigned


def clean_text(text: str) -> str:
    """Clean a caption for the parser.

    Removes HTML tags and entities, control and format characters; collapses white space; and lowers
    a caption that is all upper case, as parsers take capitals for names. A line break between two
    sentences becomes a full stop, a bar or bullet between words a semicolon, and a space follows
    each full stop.
    """
    if not _PLAIN.fullmatch(text):
        text = _TAG.sub(" ", _BREAK_TAG.sub("\n", html.unescape(text)))
        text = _LINE_BREAKS.sub("\n", text)
        text = "".join(" " if c != "\n" and unicodedata.category(c) in _HIDDEN else c for c in text)
        text = _BARS.sub(lambda bar: "; " if bar.start() else "", text.strip())
    if text.isupper():
        text = text.lower()
    if "\n" in text:
        text = _joined_lines([line.strip() for line in text.split("\n") if line.strip()])
    return _SPACES.sub(" ", _UNSPACED.sub(" ", text)).strip()


def _joined_lines(lines: list[str]) -> str:
    """The lines as one; a line that begins a sentence gets a full stop before it.

    It does where it begins as the first line does: with a capital, or with an article if the text
    has no capitals and both lines are long enough for a clause. A line that was only wrapped (`A
    cat` / `lies on a bed`) goes on.
    """
    text = "".join(lines[:1])
    is_lower = text[:1].islower()
    for before, line in pairwise(lines):
        if is_lower:
            is_long = min(before.count(" "), line.count(" ")) + 1 >= _CLAUSE_WORDS
            begins = is_long and _ARTICLES.match(line)
        else:
            begins = line[0].isupper()
        is_finished = text[-1].isalnum() and not _UNFINISHED.search(text)
        text += f". {line}" if begins and is_finished else f" {line}"
    return text


def caption_fault(text: str) -> str | None:
    """Why `parse-captions` leaves out a caption, as a sentence; None if it parses it."""
    return fault_of(clean_text(text))


def fault_of(text: str) -> str | None:
    """Why a cleaned caption cannot be parsed; None if it can."""
    if not text:
        return "the caption is empty"
    if text.count(" ") >= MAX_WORDS:
        words = text.count(" ") + 1
        return f"the caption has {words:,} words; at most {MAX_WORDS} are parsed"
    if len(text) > _MAX_CHARACTERS:
        return f"the caption has {len(text):,} characters; at most {_MAX_CHARACTERS:,} are parsed"
    if text.isascii():
        return None if any(c.isalpha() for c in text) else f"the caption has no word: {text[:40]!r}"
    if any("\udc80" <= c <= "\udcff" for c in text):  # as `read_text` keeps them
        return "the caption has a byte that is not UTF-8"
    if any(unicodedata.category(c) == "Cs" for c in text):
        return "the caption is not valid Unicode: it has half of a surrogate pair"
    letters = [c for c in text if c.isalpha()]
    if not letters:
        return f"the caption has no word: {text[:40]!r}"
    latin = sum(unicodedata.name(c, "").startswith("LATIN") for c in letters)
    if 2 * latin < len(letters):
        return "the caption is not in Latin letters, and the parser reads English"
    return None
